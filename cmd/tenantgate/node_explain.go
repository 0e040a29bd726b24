package main

import (
	"net/netip"
	"strings"

	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/admin"
)

// explain asks the data plane what would become of a request, for the admin API.
func (n *node) explain(q admin.ExplainQuestion) admin.Explanation {
	if q.Host == "" {
		q.Host = n.ownName()
	}
	e := n.proxy.Explain(&proxy.Question{
		Identity: q.Identity, Login: q.Login, Certificate: q.Certificate, Method: q.Method, Host: q.Host, Target: q.Target, Source: q.From, BodySize: q.BodySize, At: q.At,
	})
	answer := admin.Explanation{Allowed: e.Outcome.String() == "served", Outcome: e.Outcome.String(), Cause: e.Cause}
	for _, s := range e.Steps {
		step := admin.ExplainedStep{Name: s.Name, State: s.State, Reason: s.Reason, Change: s.Change}
		if s.State == proxy.StepFail {
			step.Outcome = s.Outcome.String()
		}
		answer.Steps = append(answer.Steps, step)
	}
	return answer
}

// ownName is a host by which callers reach the node.
func (n *node) ownName() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range n.cfg.ServerNames {
		if a, err := netip.ParseAddr(name); err == nil && a.Is6() {
			return "[" + name + "]"
		}
		if !strings.HasPrefix(name, "*") {
			return name
		}
	}
	return "localhost"
}
