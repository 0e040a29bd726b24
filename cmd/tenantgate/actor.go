package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/tenantgate/tenantgate/pki"
)

// socketUser is the context key of the user at the other end of the admin socket.
type socketUser struct{}

// withSocketUser notes, for each connection of the socket, whose it is. It is for http.Server.ConnContext.
func withSocketUser(ctx context.Context, conn net.Conn) context.Context {
	uid, err := peerUID(conn)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, socketUser{}, uid)
}

// socketActor names who calls over the socket, for change records: "unix:uid=0(root)".
func socketActor(r *http.Request) (string, error) {
	uid, ok := r.Context().Value(socketUser{}).(uint32)
	if !ok {
		return "", errors.New("the user of the connection is not known")
	}
	id := strconv.FormatUint(uint64(uid), 10)
	name := "?"
	if u, err := user.LookupId(id); err == nil {
		name = u.Username
	}
	return "unix:uid=" + id + "(" + name + ")", nil
}

// certificateActor names the administrator whose certificate a request on the admin listener shows:
// "spiffe://TRUST-DOMAIN/admin/NAME". It asks anew for every request: the certificate must be acceptable now, of the
// admin profile, and known to the CA as not revoked.
func (n *node) certificateActor(r *http.Request) (string, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", errors.New("no admin certificate was presented")
	}
	chain := r.TLS.PeerCertificates
	if err := n.trust.Load().VerifyClient(chain, time.Now()); err != nil {
		return "", err
	}
	leaf := chain[0]
	prefix := "spiffe://" + n.ca.TrustDomain() + "/admin/"
	if len(leaf.URIs) != 1 || !strings.HasPrefix(leaf.URIs[0].String(), prefix) {
		return "", errors.New("the certificate is not of the admin profile")
	}
	record, err := n.ca.Certificate(r.Context(), pki.FormatSerial(leaf.SerialNumber))
	switch {
	case err != nil:
		return "", fmt.Errorf("looking up the admin certificate: %w", err)
	case record.Fingerprint != sha256.Sum256(leaf.Raw), record.Profile != pki.AdminProfile().String():
		return "", errors.New("the CA has another certificate under this serial number")
	case !record.RevokedAt.IsZero():
		return "", errors.New("the admin certificate is revoked")
	}
	return leaf.URIs[0].String(), nil
}
