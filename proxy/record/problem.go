package record

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// ProblemContentType is the media type of RFC 9457 §3.
const ProblemContentType = "application/problem+json"

const typePrefix = "urn:tenantgate:problem:"

// AppendProblem appends the problem document (RFC 9457) for an outcome: type, title, status, detail and the extension member request_id.
// All but the request id comes from the outcome's table. It does not allocate when dst has room; 512 bytes are enough.
func AppendProblem(dst []byte, o Outcome, requestID string) []byte {
	r := o.row()
	dst = append(dst, `{"type":"`...)
	dst = append(dst, typePrefix...)
	dst = append(dst, r.name...)
	dst = append(dst, `","title":`...)
	dst = appendString(dst, r.title)
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(r.status), 10)
	dst = append(dst, `,"detail":`...)
	dst = appendString(dst, r.detail)
	dst = append(dst, `,"request_id":`...)
	dst = appendString(dst, requestID)
	return append(dst, "}\n"...)
}

// WriteProblem answers with the outcome's status and problem document. The header must not have been written yet.
// Its error is the connection's, and there is nothing left to tell the caller: the record has the outcome.
func WriteProblem(w http.ResponseWriter, o Outcome, requestID string) error {
	body := AppendProblem(make([]byte, 0, 512), o, requestID)
	h := w.Header()
	h.Set("Content-Type", ProblemContentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(o.Status())
	_, err := w.Write(body)
	return err
}

// Notice is what a problem document says besides, to a caller whose login is refused.
type Notice struct {
	Detail  string    // in place of the outcome's own
	Contact string    // the team that helps, "" for none
	Guide   string    // the address of a page that helps, "" for none
	Until   time.Time // when the refusal ends, zero for never
}

// AppendNotice is [AppendProblem] with a notice: the extension members contact, guide and until are left out when they are not known.
func AppendNotice(dst []byte, o Outcome, requestID string, n Notice) []byte {
	from := len(dst)
	dst = AppendProblem(dst, o, requestID)
	if n == (Notice{}) {
		return dst
	}
	var doc map[string]any
	if json.Unmarshal(dst[from:], &doc) != nil { // it was made above
		return dst
	}
	if n.Detail != "" {
		doc["detail"] = n.Detail
	}
	if n.Contact != "" {
		doc["contact"] = n.Contact
	}
	if n.Guide != "" {
		doc["guide"] = n.Guide
	}
	if !n.Until.IsZero() {
		doc["until"] = n.Until.UTC().Format(time.RFC3339)
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return dst
	}
	return append(append(dst[:from], out...), '\n')
}
