package migration

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"time"
)

//go:embed page.html
var pageSource string

//go:embed page.css
var pageStyle string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"date":   func(t time.Time) string { return t.UTC().Format(time.DateOnly) },
	"moment": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04Z") },
	"rate":   rate,
	"chart":  newChart,
}).Parse(pageSource))

// PagePolicy is the Content-Security-Policy of the page: its own style, by its hash, and nothing else. No script runs, and nothing is loaded.
var PagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}()

// Page renders the status as one HTML document that needs nothing else: no script, no other file, no network. What callers have sent is text in it.
func (s Status) Page() ([]byte, error) {
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, map[string]any{
		"Status": s, "Plan": s.Plan(), "Style": template.CSS(pageStyle), "Policy": PagePolicy,
	})
	if err != nil {
		return nil, fmt.Errorf("rendering the page: %w", err)
	}
	return b.Bytes(), nil
}

// chart is a burn-down in the units of its drawing.
type chart struct {
	Width, Height int
	Line          string // points of the callers that are left
	Ideal         string // from the first day's to none at the sunset
	Bars          []bar
	Grid          []grid
	First, Last   string // dates at the ends
	Sunset        float64
	HasSunset     bool
	Top           int
}

type bar struct {
	X, Y, Width, Height float64
	Title               string
}

type grid struct {
	Y     float64
	Label string
}

const (
	chartWidth, chartHeight = 720, 180
	chartLeft, chartBottom  = 34, 22
)

// newChart draws the way of a login: a line of callers left, bars of the requests a day, and a dashed line to the sunset if that is near.
func newChart(l Login) *chart {
	points := l.BurnDown
	if len(points) == 0 {
		return nil
	}
	c := &chart{Width: chartWidth, Height: chartHeight, First: points[0].Day, Last: points[len(points)-1].Day, Top: 1}
	most := int64(1)
	for _, p := range points {
		c.Top, most = max(c.Top, p.Left), max(most, p.Requests)
	}
	begin, _ := time.Parse(time.DateOnly, points[0].Day)
	days := len(points)
	if left := int(l.Sunset.Sub(begin).Hours()/24) + 1; left > days && left <= 2*Days {
		days, c.HasSunset = left, true
		c.Last = l.Sunset.UTC().Format(time.DateOnly)
	}
	step := float64(chartWidth-chartLeft) / float64(days)
	y := func(left int) float64 {
		return 8 + (1-float64(left)/float64(c.Top))*float64(chartHeight-chartBottom-8)
	}
	floor := y(0)
	for i, p := range points {
		x := chartLeft + float64(i)*step
		c.Line += fmt.Sprintf("%.1f,%.1f %.1f,%.1f ", x, y(p.Left), x+step, y(p.Left))
		height := float64(p.Requests) / float64(most) * (floor - 8) * 0.5
		c.Bars = append(c.Bars, bar{x + step*0.1, floor - height, step * 0.8, height,
			fmt.Sprintf("%s: %d left, %d used the password, %d requests", p.Day, p.Left, p.Active, p.Requests)})
	}
	if c.HasSunset {
		c.Sunset = chartLeft + float64(days)*step
		c.Ideal = fmt.Sprintf("%.1f,%.1f %.1f,%.1f", float64(chartLeft), y(points[0].Left), c.Sunset, floor)
	}
	for _, n := range []int{0, c.Top / 2, c.Top} {
		if len(c.Grid) == 0 || n > 0 && (n != c.Top || c.Top/2 != c.Top) {
			c.Grid = append(c.Grid, grid{y(n), fmt.Sprint(n)})
		}
	}
	return c
}
