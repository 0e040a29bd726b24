package pki

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// ZapLogger gives certmagic, which logs with zap only, a zap logger that writes to slog: its errors and warnings as such, everything else as details.
func ZapLogger(to *slog.Logger) *zap.Logger {
	return zap.New(slogCore{to: to.With("component", "certmagic")})
}

// slogCore is a zapcore.Core on a slog.Logger. Immutable.
type slogCore struct{ to *slog.Logger }

func level(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	// What certmagic finds worth an info line (locks taken, maintenance started) is a detail to our operator.
	return slog.LevelDebug
}

func (c slogCore) Enabled(l zapcore.Level) bool { return c.to.Enabled(context.Background(), level(l)) }

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{to: c.to.With(attrs(fields)...)}
}

func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	c.to.Log(context.Background(), level(e.Level), e.Message, attrs(fields)...)
	return nil
}

func (c slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	all := make([]any, 0, 2*len(fields))
	for _, f := range fields {
		enc := zapcore.NewMapObjectEncoder()
		f.AddTo(enc)
		for k, v := range enc.Fields {
			all = append(all, k, v)
		}
	}
	return all
}
