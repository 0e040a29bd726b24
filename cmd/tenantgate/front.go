package main

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/tenantgate/tenantgate/proxy/admin"
)

// listeners are the addresses of a node: callers, the admin socket, the admin listener, the enrolment listener, and what is published of the CA.
type listeners struct {
	callers net.Listener
	socket  net.Listener // nil without admin.socket
	admin   net.Listener // nil without admin.listen
	publish net.Listener // nil without publish.listen

	enrolment net.Listener // nil without enrolment.listen
	bridge    net.Listener // nil without bridge.listen
}

// listen opens all addresses of the configuration, or none. Those that were inherited are open already.
func listen(cfg *Config, in inherited) (_ *listeners, err error) {
	l := &listeners{callers: in.callers, admin: in.admin, enrolment: in.enrolment, publish: in.publish, bridge: in.bridge}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.callers == nil {
		if l.callers, err = listenTCP("listen", cfg.Listen); err != nil {
			return nil, err
		}
	}
	if l.admin == nil && cfg.Admin.Listen != "" {
		if l.admin, err = listenTCP("admin.listen", cfg.Admin.Listen); err != nil {
			return nil, err
		}
	}
	if l.publish == nil && cfg.Publish.Listen != "" {
		if l.publish, err = listenTCP("publish.listen", cfg.Publish.Listen); err != nil {
			return nil, err
		}
	}
	if l.bridge == nil && cfg.Bridge.Listen != "" {
		if l.bridge, err = listenTCP("bridge.listen", cfg.Bridge.Listen); err != nil {
			return nil, err
		}
	}
	if l.enrolment == nil && cfg.Enrolment.Listen != "" {
		if l.enrolment, err = listenTCP("enrolment.listen", cfg.Enrolment.Listen); err != nil {
			return nil, err
		}
	}
	if cfg.Admin.Socket != "" {
		if l.socket, err = admin.ListenUnix(cfg.Admin.Socket); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// close closes what is open. Closing twice does no harm.
func (l *listeners) close() {
	for _, one := range []net.Listener{l.callers, l.socket, l.admin, l.enrolment, l.publish, l.bridge} {
		if one != nil {
			one.Close()
		}
	}
}

// addresses are where the node listens, for logs, scripts and the demo.
type addresses struct {
	callers string // host:port
	admin   string // host:port, "" when there is no admin listener
	socket  string // path, "" when there is none
	publish string // host:port, "" when nothing is published

	enrolment string // host:port, "" when there is no enrolment listener
	bridge    string // host:port, "" when there is no bridge
}

func (l *listeners) addresses() addresses {
	a := addresses{callers: l.callers.Addr().String()}
	if l.admin != nil {
		a.admin = l.admin.Addr().String()
	}
	if l.publish != nil {
		a.publish = l.publish.Addr().String()
	}
	if l.enrolment != nil {
		a.enrolment = l.enrolment.Addr().String()
	}
	if l.bridge != nil {
		a.bridge = l.bridge.Addr().String()
	}
	if l.socket != nil {
		a.socket = l.socket.Addr().String()
	}
	return a
}

// shell prints the addresses as lines that a shell can source.
func (a addresses) shell() []byte {
	var b strings.Builder
	for _, line := range []struct{ name, value string }{
		{"listen", dialable(a.callers)}, {"admin", dialable(a.admin)}, {"socket", a.socket}, {"publish", dialable(a.publish)},
		{"enrolment", dialable(a.enrolment)}, {"bridge", dialable(a.bridge)},
	} {
		if line.value != "" {
			fmt.Fprintf(&b, "%s=%s\n", line.name, line.value)
		}
	}
	return []byte(b.String())
}

// listen opens the node's addresses. Connections are taken from then on and served by [node.serve].
func (n *node) listen(in inherited) error {
	front, err := listen(n.cfg, in)
	if err != nil {
		return err
	}
	n.front = front
	a := front.addresses()
	n.log.Info("listening", "callers", a.callers, "admin", a.admin, "socket", a.socket, "publish", a.publish, "enrolment", a.enrolment, "bridge", a.bridge)
	return nil
}

// serve serves all addresses until [node.shutdown], then returns nil; or until one of them breaks.
func (n *node) serve() error {
	ended := make(chan error, 6)
	serving := 1
	go func() { ended <- n.proxy.Serve(n.front.callers) }()
	if n.front.bridge != nil {
		serving++
		go func() { ended <- n.proxy.ServeBridge(n.front.bridge) }()
	}
	if n.front.socket != nil {
		serving++
		go func() { ended <- n.admin.serveSocket(n.front.socket) }()
	}
	if n.front.admin != nil {
		serving++
		go func() { ended <- n.admin.serveTLS(n.front.admin) }()
	}
	if n.front.publish != nil {
		serving++
		go func() { ended <- n.publish.serve(n.front.publish) }()
	}
	if n.front.enrolment != nil {
		serving++
		go func() { ended <- n.enrolment.serve(n.front.enrolment) }()
	}
	for range serving {
		if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return nil
}
