// Package architecture holds the rules about which package may import which, as a test. It has no code of its own and knows nothing but names.
package architecture
