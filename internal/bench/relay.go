package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"strconv"
)

// relay hands requests on with the bearer in them. It is no proxy: it believes that every message is written as the benchmark and its tenant write them,
// knows nobody and checks nothing but the certificate's chain. What is left is what TLS, the kernel and Go's scheduler cost.
type relay struct {
	tenant string
	tls    *tls.Config
	idle   chan net.Conn // connections to the tenant
}

func serveRelay(args []string) error {
	conf, err := loadTLS(args[2], "server")
	if err != nil {
		return err
	}
	conf.ClientAuth = tls.RequireAndVerifyClientCert
	l, err := tls.Listen("tcp", args[0], conf)
	if err != nil {
		return err
	}
	up := conf.Clone()
	up.Certificates = nil
	r := &relay{tenant: args[1], tls: up, idle: make(chan net.Conn, 256)}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go r.serve(c)
	}
}

// serve serves one connection, in one goroutine.
func (r *relay) serve(caller net.Conn) {
	defer caller.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := caller.Read(buf[:len(buf)-len(bearerField)])
		if err != nil {
			return
		}
		up, err := r.connect() // only now, so that callers that idle hold none
		if err != nil {
			return
		}
		err = pass(up, caller, buf, n, bearerField)
		if err == nil {
			err = pass(caller, up, buf, 0, "")
		}
		if err != nil {
			up.Close()
			return
		}
		select {
		case r.idle <- up:
		default:
			up.Close()
		}
	}
}

func (r *relay) connect() (net.Conn, error) {
	select {
	case c := <-r.idle:
		return c, nil
	default:
		return tls.Dial("tcp", r.tenant, r.tls)
	}
}

// pass passes on one message, of which n octets are in buf, with a field inserted at the end of its head.
func pass(to, from net.Conn, buf []byte, n int, field string) error {
	room := len(buf) - len(field)
	end := bytes.Index(buf[:n], headEnd)
	for end < 0 {
		if n == room {
			return errors.New("a head is too long")
		}
		m, err := from.Read(buf[n:room])
		if err != nil {
			return err
		}
		n += m
		end = bytes.Index(buf[:n], headEnd)
	}
	end += len("\r\n")
	left := end + len("\r\n") - n // octets that have not come yet
	if at := bytes.Index(buf[:end], lengthField); at >= 0 {
		value, _, _ := bytes.Cut(buf[at+len(lengthField):end], []byte("\r"))
		length, err := strconv.Atoi(string(value))
		if err != nil {
			return err
		}
		left += length
	}
	copy(buf[end+len(field):], buf[end:n])
	n += copy(buf[end:], field)
	for {
		if _, err := to.Write(buf[:n]); err != nil {
			return err
		}
		if left <= 0 {
			return nil
		}
		var err error
		if n, err = from.Read(buf[:min(left, len(buf))]); err != nil {
			return err
		}
		left -= n
	}
}

const bearerField = "Authorization: Bearer " + bearer + "\r\n"

var (
	headEnd     = []byte("\r\n\r\n")
	lengthField = []byte("Content-Length: ")
)
