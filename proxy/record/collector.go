package record

import "github.com/prometheus/client_golang/prometheus"

// collector makes metrics at each scrape out of a function.
type collector struct {
	descs   []*prometheus.Desc
	collect func(emitter)
}

// emitter takes one sample.
type emitter func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string)

func newCollector(descs []*prometheus.Desc, collect func(emitter)) prometheus.Collector {
	return &collector{descs, collect}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.collect(func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	})
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}
