package notify

import "context"

// Round delivers what is due now, once.
func (s *Sender) Round(ctx context.Context) error {
	err := s.round(ctx, s.Receiver())
	s.look(ctx)
	return err
}

// Tidy forgets and gives up what is old.
func (s *Sender) Tidy(ctx context.Context) error { return s.tidy(ctx, s.now()) }
