package login

import (
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"
)

// Hash is what a password is compared with. Fits is slow.
type Hash interface{ Fits(password string) bool }

// Login is what the registry knows of a user name.
type Login struct {
	User    string // in normal form
	Version int64  // another one with each change, 0 when nobody has this user name
	Hash    Hash   // nil when nobody has it
	Near    bool   // the source is in a network that was named for the login
}

// Verifier verifies user names and passwords. Its methods are safe for concurrent use. All of its memory is bounded, whatever callers send.
type Verifier struct {
	// Dummy is compared with the passwords of user names that nobody has. It must take as long as a real one.
	Dummy Hash
	// Patience is how long a request may wait in line for its password to be compared; 0 is 10 s.
	Patience time.Duration
	// Now is the clock of what is remembered; nil is time.Now.
	Now func() time.Time

	digests  *digester
	right    *memory
	wrong    *memory
	throttle throttle
	line     *line
	hashes   atomic.Int64
}

// How long and how much is remembered. Right passwords get in only by being right: the bound is never reached by guessing.
const (
	rightLife  = 5 * time.Minute // unused for longer than twice as long, it is forgotten
	rightLimit = 1 << 14
	wrongLife  = 10 * time.Minute
	wrongLimit = 1 << 15
	rightAge   = time.Hour // then it is hashed anew, whether it is used or not
)

// New returns a verifier that compares as many passwords at once as places says; 0 is half of the processors, at least one and at most four: each takes one of
// them and 19 MiB.
func New(places int, dummy Hash) *Verifier {
	if places <= 0 {
		places = min(4, max(1, runtime.GOMAXPROCS(0)/2))
	}
	return &Verifier{
		Dummy: dummy, digests: newDigester(), right: newMemory(rightLimit, rightLife), wrong: newMemory(wrongLimit, wrongLife), line: newLine(places),
	}
}

// Result is what became of a password.
type Result uint8

// The results.
const (
	Wrong     Result = iota // nobody has the user name, or another password: nobody can tell which
	Right                   // it fits the login
	Throttled               // the source has guessed too much: nothing was compared
	Busy                    // too many wait to be compared
)

// Digest returns what stands for a token in this process, as [Basic] returned it. It allocates nothing.
func (v *Verifier) Digest(token string) Digest { return v.digests.of(token) }

// Known returns the user name and version of a token that was seen to be right lately, or false. It costs no hash and allocates nothing. The answer is good only
// as long as the login still has that version.
func (v *Verifier) Known(d Digest) (Known, bool) {
	now := v.now()
	k, ok := v.right.get(d, now)
	return k, ok && now.Sub(k.since) < rightAge
}

// Hashes is how many passwords were compared.
func (v *Verifier) Hashes() int64 { return v.hashes.Load() }

// Verify compares a password that is not known to be right. source is whom guesses are counted for. gone, which may be nil, ends the waiting. wait is when it is
// worth trying again, for Throttled and Busy.
func (v *Verifier) Verify(d Digest, c Credentials, l Login, source netip.Prefix, gone <-chan struct{}) (r Result, wait time.Duration) {
	now := v.now()
	if k, ok := v.wrong.get(d, now); ok && k.Version == l.Version {
		return Wrong, 0
	}
	user := v.digests.of(boundedUser(l.User))
	rank, wait := v.throttle.rank(source, user, l.Near, now)
	if wait > 0 {
		return Throttled, wait
	}
	patience := v.Patience
	if patience == 0 {
		patience = 10 * time.Second
	}
	if !v.line.enter(source, rank, patience, gone) {
		return Busy, time.Second
	}
	fits := v.compare(c, l)
	v.line.leave()
	now = v.now()
	if fits {
		v.right.set(d, Known{l.User, l.Version, now}, now)
		v.throttle.right(source, now)
		return Right, 0
	}
	v.right.drop(d)
	v.wrong.set(d, Known{"", l.Version, now}, now)
	v.throttle.wrong(source, user, now)
	return Wrong, 0
}

// compare does the slow part, of which as many may run as the line has places.
func (v *Verifier) compare(c Credentials, l Login) bool {
	v.hashes.Add(1)
	if l.Hash == nil {
		v.Dummy.Fits(c.Password)
		return false
	}
	return l.Hash.Fits(c.Password)
}

// boundedUser keeps a user name inside of what is digested.
func boundedUser(user string) string { return user[:min(len(user), MaxField)] }

func (v *Verifier) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}
