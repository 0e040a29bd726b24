package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// results are all figures of a run, in the order of their first appearance.
type results struct {
	peers []string
	rows  []*row
}

// row is one figure of every proxy, measured once a round.
type row struct {
	What    string               `json:"what"`
	Unit    string               `json:"unit"`
	Samples map[string][]float64 `json:"samples"`
}

func newResults(peers []peer) *results {
	r := &results{}
	for _, p := range peers {
		r.peers = append(r.peers, p.name)
	}
	return r
}

func (r *results) add(what, unit, peer string, value float64) {
	i := slices.IndexFunc(r.rows, func(r *row) bool { return r.What == what && r.Unit == unit })
	if i < 0 {
		i = len(r.rows)
		r.rows = append(r.rows, &row{what, unit, map[string][]float64{}})
	}
	r.rows[i].Samples[peer] = append(r.rows[i].Samples[peer], value)
}

// median of an even number of samples is the mean of the two in the middle.
func median(samples []float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// machine says where the figures come from.
type machine struct {
	CPU      string   `json:"cpu"`
	System   string   `json:"system"`
	Versions []string `json:"versions"`
	Cores    string   `json:"cores"`               // who ran on which
	Load     string   `json:"load_average_before"` // of the last minute
	Command  string   `json:"command"`
}

// describe is what can be said before anything was started.
func describe(s settings) machine {
	name := procField("/proc/cpuinfo", "model name")
	if name == "" {
		name = runtime.GOARCH
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	recent, _, _ := strings.Cut(string(load), " ")
	command := fmt.Sprintf("go run ./internal/bench --rounds %d --time %s", s.rounds, s.time)
	if len(s.only) < len(peerNames) {
		command += " --only " + strings.Join(s.only, ",")
	}
	if len(s.what) < len(measures) {
		command += " --what " + strings.Join(s.what, ",")
	}
	return machine{
		CPU:    fmt.Sprintf("%s, %d cores", name, len(allowedCores())),
		System: runtime.GOOS + " " + strings.TrimSpace(string(kernel)), Load: recent, Command: command,
	}
}

// writeTable writes the medians, in Markdown.
func (r *results) writeTable(w io.Writer, m machine) error {
	var b strings.Builder
	fmt.Fprintf(&b, "- Machine: %s; %s; %s. Load average before the run: %s.\n", m.CPU, m.System, m.Cores, m.Load)
	fmt.Fprintf(&b, "- Versions: %s.\n- Command: `%s`\n", strings.Join(m.Versions, ", "), m.Command)
	base := peerNames[0]
	if slices.Contains(r.peers, base) {
		fmt.Fprintf(&b, "- Medians; in brackets, the ratio to %s in the same run.\n", base)
	} else {
		fmt.Fprintf(&b, "- Medians. %s is not part of the run: figures are absolute, and say little about another machine.\n", base)
	}
	fmt.Fprintf(&b, "\n| what | unit | %s |\n|---|---|%s\n", strings.Join(r.peers, " | "), strings.Repeat("---|", len(r.peers)))
	for _, row := range r.rows {
		fmt.Fprintf(&b, "| %s | %s |", row.What, row.Unit)
		for _, p := range r.peers {
			fmt.Fprintf(&b, " %s |", row.cell(p, base))
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cell is the median of a proxy, and its ratio to that of another.
func (r *row) cell(peer, base string) string {
	samples := r.Samples[peer]
	if len(samples) == 0 {
		return "-"
	}
	value := median(samples)
	text := rounded(value)
	if others := r.Samples[base]; len(others) > 0 && peer != base && median(others) > 0 {
		text += fmt.Sprintf(" (%.2fx)", value/median(others))
	}
	return text
}

// rounded is a figure with as many digits as mean something.
func rounded(v float64) string {
	digits := 0
	switch {
	case v < 10:
		digits = 2
	case v < 100:
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// writeJSON writes every single figure.
func (r *results) writeJSON(w io.Writer, m machine) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		machine
		Rows []*row `json:"rows"`
	}{m, r.rows})
}
