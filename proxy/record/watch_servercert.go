package record

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ServerCertificate is what the metrics need to know of one certificate that callers see.
type ServerCertificate struct {
	Source              string // "internal", "acme" or "files"
	Name                string // the name that it is for, or its file
	NotBefore, NotAfter time.Time
	Failing             bool // it could not be had, renewed or replaced
}

// WatchServerCertificates shows the certificates that callers see, one series each. all is called at each scrape.
func (m *Metrics) WatchServerCertificates(all func() []ServerCertificate) {
	if m == nil {
		return
	}
	begin := desc("server_certificate_not_before_timestamp_seconds", "When the certificate that callers see begins; 0 while there is none.", "source", "name")
	end := desc("server_certificate_not_after_timestamp_seconds", "When the certificate that callers see ends; 0 while there is none.", "source", "name")
	valid := desc("server_certificate_valid", "1 while there is a certificate that is valid; else callers see one of the CA of this server.", "source", "name")
	failing := desc("server_certificate_failing", "1 while the certificate cannot be had, renewed or replaced.", "source", "name")
	m.reg.MustRegister(newCollector([]*prometheus.Desc{begin, end, valid, failing}, func(emit emitter) {
		now := time.Now()
		for _, c := range all() {
			emit(begin, prometheus.GaugeValue, seconds(c.NotBefore), c.Source, c.Name)
			emit(end, prometheus.GaugeValue, seconds(c.NotAfter), c.Source, c.Name)
			emit(valid, prometheus.GaugeValue, truth(!c.NotAfter.IsZero() && !now.Before(c.NotBefore) && !now.After(c.NotAfter)), c.Source, c.Name)
			emit(failing, prometheus.GaugeValue, truth(c.Failing), c.Source, c.Name)
		}
	}))
}

func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
