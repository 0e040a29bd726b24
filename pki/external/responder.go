package external

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/pki"
)

const (
	// ocspTimeout bounds one question to a responder.
	ocspTimeout = 10 * time.Second
	// AnswerWait is how long a caller that comes for the first time waits for its responder.
	AnswerWait = 2 * time.Second

	maxAnswers    = 8192        // in each of the two maps: when the newer is full it becomes the older
	maxQuestions  = 16          // at the same time
	askAgainMost  = time.Hour   // a revocation shows after this, however long answers hold
	failureFirst  = time.Second // doubled with each failure
	failureMost   = time.Minute
	failurePeriod = 6 // doublings
)

// responders ask OCSP responders and keep their answers. One question about a certificate is under way at a time, whoever wants to know; answers are
// renewed when half of their life is over, behind the back of requests.
type responders struct {
	client  *http.Client
	changed func() // when something is known that was not; called without the lock

	mu       sync.Mutex // guards what follows, never held across the network
	now, old map[question]*answer
	counts   map[string]*OCSPCounts // by authority
	places   chan struct{}
}

// OCSPCounts counts the questions of one authority since the process began.
type OCSPCounts struct{ Answered, Failed uint64 }

type question struct {
	cert [sha256.Size]byte
	url  string
}

// answer is what is known about one certificate.
type answer struct {
	verdict  pki.OCSPVerdict // the last that was believed; its Status is "" before the first
	problem  string          // of the last question
	failed   bool            // the last question was not answered, or is taking too long
	asking   bool
	done     chan struct{} // closed when the question under way has ended
	next     time.Time
	failures int
}

// look returns what is known about a certificate, and asks when that is nothing or getting old. It does not wait.
func (r *responders) look(authority, url string, cert, issuer *x509.Certificate, now time.Time) answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := question{sha256.Sum256(cert.Raw), url}
	a := r.find(q)
	if a == nil {
		a = &answer{}
		r.keep(q, a)
	}
	if !a.asking && !now.Before(a.next) {
		a.asking, a.done = true, make(chan struct{})
		go r.ask(authority, q, a, cert, issuer)
	}
	known := *a
	if s := known.verdict.Status; s != "" && s != "revoked" && !now.Before(known.verdict.NextUpdate) {
		known.verdict = pki.OCSPVerdict{}
		if known.problem == "" {
			known.problem = "its last answer has expired"
		}
	}
	// A question that has failed is asked again behind the back of those who are refused for it.
	known.asking = known.asking && (!a.failed || a.failures == 0)
	return known
}

func (r *responders) find(q question) *answer {
	if a := r.now[q]; a != nil {
		return a
	}
	a := r.old[q]
	if a != nil {
		r.keep(q, a)
	}
	return a
}

func (r *responders) keep(q question, a *answer) {
	if r.now == nil || len(r.now) >= maxAnswers {
		r.old, r.now = r.now, make(map[question]*answer)
	}
	r.now[q] = a
}

// ask asks once and notes what came of it.
func (r *responders) ask(authority string, q question, a *answer, cert, issuer *x509.Certificate) {
	r.mu.Lock()
	if r.places == nil {
		r.places, r.counts = make(chan struct{}, maxQuestions), map[string]*OCSPCounts{}
	}
	r.mu.Unlock()
	r.places <- struct{}{}
	verdict, err := r.post(q.url, cert, issuer)
	<-r.places

	now := time.Now()
	r.mu.Lock()
	before := a.verdict.Status
	if r.counts[authority] == nil {
		r.counts[authority] = &OCSPCounts{}
	}
	if err != nil {
		r.counts[authority].Failed++
		a.failed, a.problem = true, err.Error()
		a.next = now.Add(min(failureFirst<<min(a.failures, failurePeriod), failureMost))
		a.failures++
	} else {
		r.counts[authority].Answered++
		a.verdict, a.failed, a.problem, a.failures = verdict, false, "", 0
		a.next = now.Add(min(verdict.NextUpdate.Sub(now)/2, askAgainMost))
	}
	a.asking = false
	close(a.done)
	r.mu.Unlock()
	if err == nil && before != "" && before != verdict.Status {
		r.changed()
	}
}

func (r *responders) post(url string, cert, issuer *x509.Certificate) (pki.OCSPVerdict, error) {
	request, err := pki.OCSPRequest(cert, issuer)
	if err != nil {
		return pki.OCSPVerdict{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), ocspTimeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(request))
	if err != nil {
		return pki.OCSPVerdict{}, err
	}
	q.Header.Set("Content-Type", "application/ocsp-request")
	q.Header.Set("Accept", "application/ocsp-response")
	der, err := read(r.client, q, maxOCSPAnswer)
	if err != nil {
		return pki.OCSPVerdict{}, err
	}
	return pki.VerifyOCSP(der, cert, issuer, time.Now())
}

// await waits until the question under way about a certificate has ended, at most AnswerWait. One that takes longer counts as failed until it ends.
func (r *responders) await(ctx context.Context, url string, cert *x509.Certificate) {
	q := question{sha256.Sum256(cert.Raw), url}
	r.mu.Lock()
	a := r.find(q)
	if a == nil || !a.asking {
		r.mu.Unlock()
		return
	}
	done := a.done
	r.mu.Unlock()
	timer := time.NewTimer(AnswerWait)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	if a.asking && !a.failed {
		a.failed, a.problem = true, fmt.Sprintf("it has not answered within %v", AnswerWait)
		a.failures = max(a.failures, 1)
	}
	r.mu.Unlock()
}

// Await waits for the responder that a verdict is pending for, at most [AnswerWait]. Afterwards [Verifier.Judge] has an answer, or a reason why there is none.
func (v *Verifier) Await(ctx context.Context, a *identity.Authority, verdict *Verdict) {
	if url := responderOf(a, verdict.leaf); verdict.Pending && url != "" {
		v.ocsp.await(ctx, url, verdict.leaf)
	}
}

// OCSPCounts returns how the questions of each authority went, since the process began.
func (v *Verifier) OCSPCounts() map[string]OCSPCounts {
	v.ocsp.mu.Lock()
	defer v.ocsp.mu.Unlock()
	all := make(map[string]OCSPCounts, len(v.ocsp.counts))
	for name, c := range v.ocsp.counts {
		all[name] = *c
	}
	return all
}
