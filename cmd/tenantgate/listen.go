package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// listenTCP listens on host:port; key is the configuration key that named it, for errors.
func listenTCP(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, hinted(fmt.Errorf("%s: %s is in use", key, address), "another program listens there, perhaps another tenantgate; stop it or change %s", key)
	case errors.Is(err, syscall.EACCES):
		return nil, hinted(fmt.Errorf("%s: %s: permission denied", key, address), "ports below 1024 need CAP_NET_BIND_SERVICE; see configs/tenantgate.service")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, hinted(fmt.Errorf("%s: %s is not an address of this machine", key, address), "use :PORT to listen on all addresses")
	}
	return nil, fmt.Errorf("%s: listening on %s: %w", key, address, err)
}

// dialable is address as others can dial it: the unspecified address becomes loopback.
func dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
		if strings.Contains(address, "[") && ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
