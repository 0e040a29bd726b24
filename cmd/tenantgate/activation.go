package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
)

// Socket activation (sd_listen_fds(3)): systemd, or whoever starts the server, holds the listening sockets. They stay open while one server drains and
// the next one starts; callers that connect meanwhile wait in the kernel and are served, none is refused.

// inherited are the sockets that this process was started with, each nil when it was not.
type inherited struct{ callers, admin, enrolment, publish, bridge net.Listener }

// The FileDescriptorName= of the socket units of the listeners that are not for callers. A socket of any other name is for callers.
const (
	fdAdmin     = "admin"
	fdEnrolment = "enrolment"
	fdPublish   = "publish"
	fdBridge    = "bridge"
)

// inheritListeners takes over the sockets that systemd passed. It may be called once.
func inheritListeners() (in inherited, err error) {
	for _, f := range activation.Files(true) {
		l, err := net.FileListener(f)
		f.Close() // the listener has a copy
		if err != nil {
			return in, hinted(fmt.Errorf("socket %s from systemd: %w", f.Name(), err), "the unit must have ListenStream= and Accept=no; see configs/tenantgate.socket")
		}
		if _, tcp := l.(*net.TCPListener); !tcp {
			return in, hinted(fmt.Errorf("socket %s from systemd: is %s, not TCP", f.Name(), l.Addr().Network()),
				"only `listen`, admin.listen, enrolment.listen, publish.listen and bridge.listen can come from systemd; the admin socket is the server's own")
		}
		slot := &in.callers
		switch {
		case strings.EqualFold(f.Name(), fdAdmin):
			slot = &in.admin
		case strings.EqualFold(f.Name(), fdEnrolment):
			slot = &in.enrolment
		case strings.EqualFold(f.Name(), fdPublish):
			slot = &in.publish
		case strings.EqualFold(f.Name(), fdBridge):
			slot = &in.bridge
		}
		if *slot != nil {
			return in, hinted(fmt.Errorf("socket %s from systemd: is the second one for %s", f.Name(), (*slot).Addr()),
				"pass one socket for callers, and one each with FileDescriptorName=%s, =%s, =%s and =%s for those listeners", fdAdmin, fdEnrolment, fdPublish, fdBridge)
		}
		*slot = l
	}
	return in, nil
}
