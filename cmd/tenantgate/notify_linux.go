package main

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// notifier tells systemd how the service is (sd_notify(3)). The zero value tells nobody.
type notifier struct{ socket string }

// newNotifier reads where to tell it; NOTIFY_SOCKET is empty outside of a unit with Type=notify.
func newNotifier(getenv func(string) string) notifier {
	socket := getenv("NOTIFY_SOCKET")
	if len(socket) > 1 && socket[0] == '@' {
		socket = "\x00" + socket[1:] // the abstract namespace
	}
	return notifier{socket}
}

// ready says that the service answers; status is for `systemctl status`.
func (n notifier) ready(status string) error { return n.send("READY=1\nSTATUS=" + status) }

// reloading says that a reload has begun; [notifier.ready] ends it. systemd wants to know when it began.
func (n notifier) reloading() error {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return fmt.Errorf("reading the clock for systemd: %w", err)
	}
	return n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", ts.Nano()/1000))
}

// stopping says that the service has begun to end.
func (n notifier) stopping() error { return n.send("STOPPING=1\nSTATUS=draining") }

func (n notifier) send(state string) error {
	if n.socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notifying systemd: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notifying systemd: %w", err)
	}
	return nil
}
