//go:build race

package external_test

const raceDetector = true
