package usage

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"slices"
	"strconv"
)

// Extensions that come and go between two handshakes of the same client: they say whether it resumes a session, and nothing of what it is.
// https://www.iana.org/assignments/tls-extensiontype-values
const (
	extServerName   = 0
	extALPN         = 16
	extPadding      = 21
	extTicket       = 35
	extPreSharedKey = 41
	extEarlyData    = 42
	extCookie       = 44
)

// Fingerprint is what a client's TLS implementation looks like, in the form of JA4 (https://github.com/FoxIO-LLC/ja4): protocol, version, whether it names the
// server, how many cipher suites and extensions, its first ALPN protocol; then hashes of the cipher suites and of the extensions with the signature schemes.
//
// It differs from JA4 in what it leaves out, so that a client that resumes a session is the same as before: session tickets, pre-shared keys, early data, cookies
// and padding. It tells implementations apart (curl with OpenSSL, Java, Go), not machines.
func Fingerprint(hello *tls.ClientHelloInfo) string {
	suites := slices.DeleteFunc(slices.Clone(hello.CipherSuites), isGREASE)
	extensions := slices.DeleteFunc(slices.Clone(hello.Extensions), comesAndGoes)
	out := make([]byte, 0, 40)
	out = append(append(out, 't'), version(hello.SupportedVersions)...)
	named := byte('i')
	if slices.Contains(extensions, extServerName) {
		named = 'd'
	}
	out = append(out, named)
	out = appendTwo(appendTwo(out, len(suites)), len(extensions))
	out = append(out, alpn(hello.SupportedProtos)...)
	slices.Sort(suites)
	out = appendHash(append(out, '_'), suites, nil)
	extensions = slices.DeleteFunc(extensions, func(e uint16) bool { return e == extServerName || e == extALPN })
	slices.Sort(extensions)
	return string(appendHash(append(out, '_'), extensions, hello.SignatureSchemes))
}

// isGREASE recognises the values of RFC 8701, which mean nothing and differ each time.
func isGREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

func comesAndGoes(e uint16) bool {
	return isGREASE(e) || slices.Contains([]uint16{extPadding, extTicket, extPreSharedKey, extEarlyData, extCookie}, e)
}

// version is the highest that the client offers.
func version(offered []uint16) string {
	offered = slices.DeleteFunc(slices.Clone(offered), isGREASE)
	if len(offered) == 0 {
		return "00"
	}
	switch slices.MaxFunc(offered, cmp.Compare[uint16]) {
	case tls.VersionTLS13:
		return "13"
	case tls.VersionTLS12:
		return "12"
	}
	return "00"
}

func appendTwo(dst []byte, n int) []byte {
	n = min(n, 99)
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

// alpn is the first and last character of the first protocol.
func alpn(protocols []string) string {
	if len(protocols) == 0 || protocols[0] == "" {
		return "00"
	}
	p := protocols[0]
	first, last := p[0], p[len(p)-1]
	if !alphanumeric(first) || !alphanumeric(last) {
		h := hex.EncodeToString([]byte(p))
		return h[:1] + h[len(h)-1:]
	}
	return string([]byte{first, last})
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// appendHash appends 12 digits of the hash of a list of numbers, and of another one behind it where there is one.
func appendHash(dst []byte, numbers []uint16, schemes []tls.SignatureScheme) []byte {
	if len(numbers) == 0 {
		return append(dst, "000000000000"...)
	}
	text := make([]byte, 0, 512)
	for i, n := range numbers {
		if i > 0 {
			text = append(text, ',')
		}
		text = appendHex(text, n)
	}
	for i, s := range schemes {
		sep := byte(',')
		if i == 0 {
			sep = '_'
		}
		text = appendHex(append(text, sep), uint16(s))
	}
	sum := sha256.Sum256(text)
	return hex.AppendEncode(dst, sum[:6])
}

func appendHex(dst []byte, n uint16) []byte {
	for shift := 12; shift >= 0; shift -= 4 {
		dst = strconv.AppendUint(dst, uint64(n>>shift&15), 16)
	}
	return dst
}
