package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc: USER_HZ, which is 100 on every architecture that Go runs on.
const clockTick = 10 * time.Millisecond

// family is a process and its descendants.
func family(pid int) []int {
	all := []int{pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		b, _ := os.ReadFile(list) // it may have ended
		for child := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(all, family(n)...)
			}
		}
	}
	return all
}

// cpuTime is what processes have used.
type cpuTime struct{ user, system time.Duration }

func (c cpuTime) sum() time.Duration { return c.user + c.system }

func (c cpuTime) since(before cpuTime) cpuTime {
	return cpuTime{c.user - before.user, c.system - before.system}
}

// cpu is what a process and its descendants have used.
func cpu(pid int) (c cpuTime) {
	for _, p := range family(pid) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		_, rest, _ := strings.Cut(string(b), ") ") // behind the name
		if f := strings.Fields(rest); len(f) > 12 {
			user, _ := strconv.Atoi(f[11])
			system, _ := strconv.Atoi(f[12])
			c.user += time.Duration(user) * clockTick
			c.system += time.Duration(system) * clockTick
		}
	}
	return c
}

// memory is what a process and its descendants hold, in KiB: pages that several of them share count once.
func memory(pid int) int {
	sum := 0
	for _, p := range family(pid) {
		value, _, _ := strings.Cut(procField(fmt.Sprintf("/proc/%d/smaps_rollup", p), "Pss"), " ")
		n, _ := strconv.Atoi(value)
		sum += n
	}
	return sum
}

// procField is the first value of a name in a file such as /proc/cpuinfo, "" if it is not there.
func procField(path, name string) string {
	b, _ := os.ReadFile(path)
	for line := range strings.Lines(string(b)) {
		if n, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(n) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
