package record

import (
	"strconv"
	"time"
)

// Access is the record of one request. One is made when the request arrives, filled on its way through the stages, and appended when
// it has ended, whatever the end. It holds no header, no query and no body, because a secret may be in each of them, but for the ids that find it elsewhere.
//
// Strings are written as JSON strings whatever bytes they hold. A zero field is left out of the line, except time, request id, outcome,
// status, bytes and duration, which every line has.
type Access struct {
	Time      time.Time // when the first byte of the request was read
	RequestID string    // see AppendRequestID; the caller was told the same
	Protocol  string    // "HTTP/1.1", "HTTP/2.0"
	Source    string    // the peer's address and port
	Method    string
	Host      string // as asked for; at most 255 bytes are kept
	Path      string // as received, without the query; at most 2048 bytes are kept

	Identity string // name; "" when the caller was not identified
	Serial   string // the certificate's serial number in lower-case hex
	Login    string // the user name, when a login that exists was used; what else a caller sends as a user name is not kept: it may be a password
	Stage    string // the stage of Login: observe, open, warned, brownout or closed
	Route    string // name; "" when none matched. Only configured names: it becomes a label of the metrics
	Tenant   string // name

	// Of a login in stage observe: how the request would have ended with the identity of the login, and why. Would is Internal for any other request and when
	// nobody came to know.
	Would      Outcome
	WouldCause string // for the operator; at most 512 bytes are kept

	Outcome      Outcome
	Cause        string // for the operator, never for the caller; never a secret; at most 512 bytes are kept
	Status       int    // what the caller was sent; 0 when nothing was sent
	TenantStatus int    // what the tenant answered; 0 when it did not

	// What finds the request elsewhere. All are bounded and of characters that were checked by whoever sets them.
	TraceID       string // of W3C Trace Context: 32 hex digits; the caller's, or one begun here
	SpanID        string // what the tenant sees as its parent: 16 hex digits
	CorrelationID string // the tenant's, or else the caller's; "" when neither gave one
	MPLID         string // id of the message processing log at the tenant, where it told one

	BytesIn  int64 // body bytes from the caller
	BytesOut int64 // body bytes to the caller

	Duration       time.Duration // from the first byte of the request to the last of the answer
	TokenDuration  time.Duration // how long the request waited for a token; 0 when one was there
	CSRFDuration   time.Duration // how long the request waited for a CSRF token of the tenant; 0 when one was there, or none was needed
	TenantDuration time.Duration // from asking for a connection to the tenant until its answer's end
	Retried        bool          // the tenant was asked a second time, after a 401
	CSRFRetried    bool          // the tenant was asked once more, with a new CSRF token, because it had refused for want of one
}

// Bounds of one line. Together with escaping (six bytes for one at worst) they bound a line to about 31 KiB.
const (
	maxPath  = 2048
	maxCause = 512
	maxName  = 255

	maxID          = 32 // of one with a length of its own
	maxCorrelation = 128
)

// AppendLine appends the record as one line: a JSON object and a newline. Durations are whole microseconds.
// It does not allocate when dst has room.
func (a *Access) AppendLine(dst []byte) []byte {
	dst = append(dst, `{"time":"`...)
	dst = appendTime(dst, a.Time)
	dst = append(dst, `","request_id":`...)
	dst = appendString(dst, cut(a.RequestID, maxName))
	dst = appendMember(dst, `,"protocol":`, a.Protocol, maxName)
	dst = appendMember(dst, `,"source":`, a.Source, maxName)
	dst = appendMember(dst, `,"method":`, a.Method, maxName)
	dst = appendMember(dst, `,"host":`, a.Host, maxName)
	dst = appendMember(dst, `,"path":`, a.Path, maxPath)
	dst = appendMember(dst, `,"identity":`, a.Identity, maxName)
	dst = appendMember(dst, `,"serial":`, a.Serial, maxName)
	dst = appendMember(dst, `,"login":`, a.Login, maxName)
	dst = appendMember(dst, `,"stage":`, a.Stage, maxName)
	dst = appendMember(dst, `,"route":`, a.Route, maxName)
	dst = appendMember(dst, `,"tenant":`, a.Tenant, maxName)
	dst = append(dst, `,"outcome":"`...)
	dst = append(dst, a.Outcome.String()...)
	dst = append(dst, '"')
	dst = appendMember(dst, `,"cause":`, a.Cause, maxCause)
	if a.Would != Internal {
		dst = append(dst, `,"would":"`...)
		dst = append(dst, a.Would.String()...)
		dst = append(dst, '"')
	}
	dst = appendMember(dst, `,"would_cause":`, a.WouldCause, maxCause)
	dst = appendNumber(dst, `,"status":`, int64(a.Status))
	if a.TenantStatus != 0 {
		dst = appendNumber(dst, `,"tenant_status":`, int64(a.TenantStatus))
	}
	dst = appendMember(dst, `,"trace_id":`, a.TraceID, maxID)
	dst = appendMember(dst, `,"span_id":`, a.SpanID, maxID)
	dst = appendMember(dst, `,"correlation_id":`, a.CorrelationID, maxCorrelation)
	dst = appendMember(dst, `,"mpl_id":`, a.MPLID, maxID)
	dst = appendNumber(dst, `,"bytes_in":`, a.BytesIn)
	dst = appendNumber(dst, `,"bytes_out":`, a.BytesOut)
	dst = appendNumber(dst, `,"duration_us":`, a.Duration.Microseconds())
	if a.TokenDuration != 0 {
		dst = appendNumber(dst, `,"token_us":`, a.TokenDuration.Microseconds())
	}
	if a.CSRFDuration != 0 {
		dst = appendNumber(dst, `,"csrf_us":`, a.CSRFDuration.Microseconds())
	}
	if a.TenantDuration != 0 {
		dst = appendNumber(dst, `,"tenant_us":`, a.TenantDuration.Microseconds())
	}
	if a.Retried {
		dst = append(dst, `,"retried":true`...)
	}
	if a.CSRFRetried {
		dst = append(dst, `,"csrf_retried":true`...)
	}
	if a.isCut() {
		dst = append(dst, `,"cut":true`...)
	}
	return append(dst, "}\n"...)
}

// isCut says whether a string was too long to be kept whole; the line then says so.
func (a *Access) isCut() bool {
	return len(a.Path) > maxPath || len(a.Cause) > maxCause || len(a.Host) > maxName || len(a.Method) > maxName
}

func cut(s string, limit int) string {
	if len(s) > limit {
		return s[:limit] // a rune cut in half becomes U+FFFD when it is written
	}
	return s
}

func appendMember(dst []byte, name, value string, limit int) []byte {
	if value == "" {
		return dst
	}
	return appendString(append(dst, name...), cut(value, limit))
}

func appendNumber(dst []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(dst, name...), n, 10)
}

// appendTime appends RFC 3339 in UTC with microseconds: "2006-01-02T15:04:05.000000Z". It takes a third of AppendFormat's time, which
// would be a third of the line's.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	dst = append(appendDigits(dst, year, 4), '-')
	dst = append(appendDigits(dst, int(month), 2), '-')
	dst = append(appendDigits(dst, day, 2), 'T')
	dst = append(appendDigits(dst, hour, 2), ':')
	dst = append(appendDigits(dst, minute, 2), ':')
	dst = append(appendDigits(dst, second, 2), '.')
	return append(appendDigits(dst, t.Nanosecond()/1000, 6), 'Z')
}

// appendDigits appends the last width digits of n.
func appendDigits(dst []byte, n, width int) []byte {
	for i := 0; i < width; i++ {
		dst = append(dst, '0')
	}
	for i := len(dst) - 1; width > 0; width-- {
		dst[i] = byte('0' + n%10)
		n /= 10
		i--
	}
	return dst
}
