package pki

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Node is one process on the database, and how far it knows the CA's own certificates.
type Node struct {
	// ID is random, Name what the node calls itself.
	ID, Name string
	// Current says that it has taken up everything; Problem why it cannot use a key; "" when it can.
	Current bool
	Problem string
	// Seen is when it was heard of last.
	Seen time.Time
	// Self says that it is the one that answers.
	Self bool

	revision, beat int64
}

// beatInterval is how often a node says that it is there. One whose beat has stood still for four of them is not waited for.
const (
	beatInterval = time.Second
	deadAfter    = 4 * beatInterval
	agreeWithin  = 10 * time.Second
	forgetNodes  = 24 * time.Hour
)

// beat says that this node is there, when it is time or at once. Whoever calls it has the turn.
func (ca *CA) beat(ctx context.Context, now bool) error {
	if ca.options.Node == "" || !now && time.Since(ca.beaten) < beatInterval {
		return nil
	}
	l := ca.lineage.Load()
	_, err := ca.options.DB.ExecContext(ctx, `INSERT INTO pki_nodes (id, name, revision, beat, seen, problem) VALUES ($1, $2, $3, 1, $4, $5)
		ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, beat = pki_nodes.beat + 1, seen = excluded.seen, problem = excluded.problem`,
		ca.node, ca.options.Node, l.revision, time.Now().UnixMicro(), l.problem)
	if err == nil {
		ca.beaten = time.Now()
	}
	return err
}

// Leave says that this node is not there any more. A node that could not say so is not waited for after a few seconds.
func (ca *CA) Leave(ctx context.Context) error {
	if ca.options.Node == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	_, err := ca.options.DB.ExecContext(ctx, `DELETE FROM pki_nodes WHERE id = $1 OR seen < $2`, ca.node, time.Now().Add(-forgetNodes).UnixMicro())
	return err
}

// Nodes lists the nodes that were heard of in the last day, by name.
func (ca *CA) Nodes(ctx context.Context) ([]Node, error) {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	rows, err := ca.options.DB.QueryContext(ctx, `SELECT n.id, n.name, n.revision, n.beat, n.seen, n.problem, r.revision FROM pki_nodes n, pki_authority_revision r
		WHERE n.seen >= $1 ORDER BY n.name, n.id`, time.Now().Add(-forgetNodes).UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("listing nodes: %w", err)
	}
	defer rows.Close()
	all := []Node{}
	for rows.Next() {
		var n Node
		var seen, revision int64
		if err := rows.Scan(&n.ID, &n.Name, &n.revision, &n.beat, &seen, &n.Problem, &revision); err != nil {
			return nil, fmt.Errorf("listing nodes: %w", err)
		}
		n.Seen, n.Current, n.Self = micros(seen), n.revision >= revision, n.ID == ca.node
		all = append(all, n)
	}
	return all, rows.Err()
}

// Agree waits until every node that lives has taken up what this one knows and can use the keys of what is pending, and of the intermediates with the given IDs,
// and notes from when on the roots and intermediates that are pending are trusted everywhere. It waits ten seconds at most; the *[AuthorityError] then names
// the nodes. Nothing signs with a key before. Keys of others may be lost: that is when another one is needed most.
func (ca *CA) Agree(ctx context.Context, ids ...string) error {
	if _, err := ca.Refresh(ctx); err != nil {
		return err
	}
	l := ca.lineage.Load()
	for _, a := range l.records {
		if a.State == AuthorityPending {
			ids = append(ids, a.ID)
		}
	}
	concerns := func(problem string) bool {
		return slices.ContainsFunc(ids, func(id string) bool { return strings.Contains(problem, id[:16]) })
	}
	if concerns(l.problem) {
		return &AuthorityError{Conflict: true, Problem: l.problem, Hint: "mend that; then do it again"}
	}
	type watched struct {
		beat  int64
		since time.Time
	}
	heard := map[string]watched{}
	begin := time.Now()
	for {
		nodes, err := ca.Nodes(ctx)
		if err != nil {
			return err
		}
		var behind, broken []string
		for _, n := range nodes {
			was, known := heard[n.ID]
			if !known || was.beat != n.beat {
				was = watched{n.beat, time.Now()}
				heard[n.ID] = was
			}
			switch {
			case n.Self || time.Since(was.since) > deadAfter:
			case n.revision < l.revision:
				behind = append(behind, n.Name)
			case concerns(n.Problem):
				broken = append(broken, n.Name+": "+n.Problem)
			}
		}
		if len(behind)+len(broken) == 0 {
			break
		}
		if time.Since(begin) > agreeWithin || len(behind) == 0 && time.Since(begin) > deadAfter+beatInterval {
			slices.Sort(behind)
			return &AuthorityError{Conflict: true, Problem: "not every node can follow: " + strings.Join(append(behind, broken...), "; "),
				Hint: "see to these nodes (their logs say more), then do it again; until then everything is as it was"}
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("waiting for the other nodes"), ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	if !ca.Undecided() {
		return nil
	}
	if err := ca.decide(ctx); err != nil {
		return fmt.Errorf("noting what every node trusts: %w", err)
	}
	_, err := ca.Refresh(ctx)
	return err
}

// decide notes that what is pending, and known here, is trusted by every node.
func (ca *CA) decide(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ca.options.DatabaseTimeout)
	defer cancel()
	tx, err := ca.options.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // without effect after the commit
	if _, err := touchAuthorities(ctx, tx); err != nil {
		return err
	}
	for _, a := range ca.lineage.Load().records {
		if a.State != AuthorityPending || !a.Trusted.IsZero() {
			continue
		}
		if _, err := tx.ExecContext(ctx, `UPDATE pki_authorities SET trusted = $1 WHERE id = $2 AND trusted = 0`, ca.options.Now().UnixMicro(), a.ID); err != nil {
			return err
		}
	}
	return tx.Commit()
}
