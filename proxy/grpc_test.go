package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tenantgate/tenantgate/identity"
	"github.com/tenantgate/tenantgate/proxy"
	"github.com/tenantgate/tenantgate/proxy/record"
)

// gRPC from end to end: the project's own client and server, and the cases with which gRPC's implementations are tested against one another.

// grpcTenant is gRPC's test server as a tenant of HTTP/2.
type grpcTenant struct {
	gate      *gate
	fail      atomic.Pointer[status.Status] // what every unary call gets
	unclean   atomic.Bool                   // a call had no token of the identity's, or a field that must not pass
	deadlines atomic.Int64                  // calls that had one
	ended     chan error                    // how each stream ended
}

func (t *grpcTenant) check(ctx context.Context) {
	md, _ := metadata.FromIncomingContext(ctx)
	auth := md["authorization"]
	t.gate.tenant.mu.Lock()
	ok := len(auth) == 1 && t.gate.tenant.valid[strings.TrimPrefix(auth[0], "Bearer ")] == "sb-orders"
	t.gate.tenant.mu.Unlock()
	if !ok || len(md["x-forwarded-user"]) > 0 || len(md["cookie"]) > 0 {
		t.unclean.Store(true)
	}
	if _, ok := ctx.Deadline(); ok {
		t.deadlines.Add(1)
	}
}

func (t *grpcTenant) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	t.check(ctx)
	if s := t.fail.Load(); s != nil {
		return nil, s.Err()
	}
	return handle(ctx, req)
}

func (t *grpcTenant) stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	t.check(ss.Context())
	err := handle(srv, ss)
	select {
	case t.ended <- ss.Context().Err():
	default:
	}
	return err
}

// newGRPC starts a gate with such a tenant, over TLS or not, and returns a client of the identity orders.
func newGRPC(t *testing.T, limits proxy.Limits, overTLS bool) (*gate, *grpcTenant, *grpc.ClientConn, *client) {
	g := newGate(t, limits)
	tenant := &grpcTenant{gate: g, ended: make(chan error, 1000)}
	options := []grpc.ServerOption{grpc.UnaryInterceptor(tenant.unary), grpc.StreamInterceptor(tenant.stream), grpc.MaxRecvMsgSize(8 << 20)}
	scheme, caPEM := "http", ""
	if overTLS {
		var cert tls.Certificate
		cert, caPEM = selfSigned(t, "localhost")
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
		scheme = "https"
	}
	s := grpc.NewServer(options...)
	testpb.RegisterTestServiceServer(s, interop.NewTestServer())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go s.Serve(l)
	t.Cleanup(s.Stop)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	g.addPlace("grpc", scheme+"://localhost:"+port, caPEM, func(t *identity.Tenant) { t.Protocol = identity.ProtocolHTTP2 })
	for _, service := range []string{"TestService", "UnimplementedService"} {
		g.addRoute(identity.Route{
			Name: "grpc-" + strings.ToLower(service), Path: "/grpc.testing." + service + "/*", Tenant: "grpc", Role: "orders.send", MaxBody: -1,
		})
	}
	c := g.issue("orders")
	cc, err := grpc.NewClient("passthrough:///"+g.addr, grpc.WithTransportCredentials(credentials.NewTLS(c.tls("localhost"))),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(8<<20)))
	must(t, err)
	t.Cleanup(func() { cc.Close() })
	return g, tenant, cc, c
}

// failing turns the log on which gRPC's cases report what went wrong, and then end the process, into a panic.
type failing struct{ grpclog.LoggerV2 }

func (failing) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (failing) Fatalln(args ...any)               { panic(fmt.Sprintln(args...)) }
func (failing) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func init() { grpclog.SetLoggerV2(failing{grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard)}) }

// tryCase runs one of gRPC's cases and returns what it found wrong, nil for nothing.
func tryCase(t *testing.T, do func(context.Context)) (broken any) {
	defer func() { broken = recover() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	do(metadata.AppendToOutgoingContext(ctx, "x-forwarded-user", "admin", "cookie", "JSESSIONID=1"))
	return nil
}

func TestTheInteroperabilityCasesOfGRPCPass(t *testing.T) {
	for name, overTLS := range map[string]bool{"TLS": true, "prior knowledge": false} {
		t.Run(name, func(t *testing.T) {
			g, tenant, cc, _ := newGRPC(t, proxy.Limits{}, overTLS)
			tc := testpb.NewTestServiceClient(cc)
			for name, do := range map[string]func(context.Context){
				"empty unary":             func(ctx context.Context) { interop.DoEmptyUnaryCall(ctx, tc) },
				"large unary":             func(ctx context.Context) { interop.DoLargeUnaryCall(ctx, tc) },
				"client streaming":        func(ctx context.Context) { interop.DoClientStreaming(ctx, tc) },
				"server streaming":        func(ctx context.Context) { interop.DoServerStreaming(ctx, tc) },
				"ping pong":               func(ctx context.Context) { interop.DoPingPong(ctx, tc) },
				"empty stream":            func(ctx context.Context) { interop.DoEmptyStream(ctx, tc) },
				"timeout on sleeping":     func(ctx context.Context) { interop.DoTimeoutOnSleepingServer(ctx, tc) },
				"cancel after begin":      func(ctx context.Context) { interop.DoCancelAfterBegin(ctx, tc) },
				"cancel after first":      func(ctx context.Context) { interop.DoCancelAfterFirstResponse(ctx, tc) },
				"custom metadata":         func(ctx context.Context) { interop.DoCustomMetadata(ctx, tc) },
				"status code and message": func(ctx context.Context) { interop.DoStatusCodeAndMessage(ctx, tc) },
				"special status message":  func(ctx context.Context) { interop.DoSpecialStatusMessage(ctx, tc) },
				"unimplemented method":    func(ctx context.Context) { interop.DoUnimplementedMethod(ctx, cc) },
				"unimplemented service": func(ctx context.Context) {
					interop.DoUnimplementedService(ctx, testpb.NewUnimplementedServiceClient(cc))
				},
			} {
				t.Run(name, func(t *testing.T) {
					attempts := 1
					if name == "timeout on sleeping" {
						attempts = 5 // the tenant has the same millisecond, and what it resets may reach the caller before the caller's own clock does
					}
					var broken any
					for ; attempts > 0; attempts-- {
						if broken = tryCase(t, do); broken == nil {
							return
						}
					}
					t.Errorf("%v", broken)
				})
			}
			if tenant.unclean.Load() {
				t.Error("a call reached the tenant without the identity's token, or with a field that must not pass")
			}
			if tenant.deadlines.Load() == 0 {
				t.Error("no deadline reached the tenant")
			}
			for _, r := range g.records() {
				switch o, cause := r["outcome"], fmt.Sprint(r["cause"]); {
				case o == record.Served.String(), o == record.CallerGone.String():
				case o == record.TenantBroken.String() && strings.HasSuffix(cause, "CANCEL; received from peer"): // the deadline passed there first
				default:
					t.Errorf("got record %v", r)
				}
			}
		})
	}
}

func TestAStatusOfGRPCKeepsItsDetails(t *testing.T) {
	_, tenant, cc, _ := newGRPC(t, proxy.Limits{}, true)
	detail := &errdetails.ErrorInfo{Reason: "SHORT", Metadata: map[string]string{"left": "3"}}
	want, err := status.New(codes.FailedPrecondition, "stock is short: äöü %").WithDetails(detail)
	must(t, err)
	tenant.fail.Store(want)
	_, err = testpb.NewTestServiceClient(cc).EmptyCall(t.Context(), &testpb.Empty{})
	got := status.Convert(err)
	if got.Code() != want.Code() || got.Message() != want.Message() || len(got.Details()) != 1 ||
		got.Details()[0].(*errdetails.ErrorInfo).Metadata["left"] != "3" {
		t.Errorf("got %v with %v", got, got.Details())
	}
}

func TestARefusalIsAStatusOfGRPC(t *testing.T) {
	g, _, cc, c := newGRPC(t, proxy.Limits{}, true)
	g.change(func(tx *identity.Tx) error {
		i, err := tx.Identity("orders")
		if err == nil {
			i.Roles = nil
			_, err = tx.SetIdentity(t.Context(), i)
		}
		return err
	})
	if _, err := testpb.NewTestServiceClient(cc).EmptyCall(t.Context(), &testpb.Empty{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("%s: got %v", c.serial(), err)
	}
}

func payload(n int) *testpb.Payload { return &testpb.Payload{Body: bytes.Repeat([]byte("x"), n)} }

func TestLargeMessagesOfGRPCPassBothWays(t *testing.T) {
	_, _, cc, _ := newGRPC(t, proxy.Limits{}, true)
	const size = 4 << 20
	got, err := testpb.NewTestServiceClient(cc).UnaryCall(t.Context(), &testpb.SimpleRequest{ResponseSize: size, Payload: payload(size - 64)})
	if err != nil || len(got.Payload.Body) != size {
		t.Errorf("got %d octets, %v", len(got.GetPayload().GetBody()), err)
	}
}

// converse has a conversation of n small messages each way.
func converse(ctx context.Context, tc testpb.TestServiceClient, n int) error {
	s, err := tc.FullDuplexCall(ctx)
	if err != nil {
		return err
	}
	for range n {
		if err := s.Send(&testpb.StreamingOutputCallRequest{ResponseParameters: []*testpb.ResponseParameters{{Size: 10}}, Payload: payload(10)}); err != nil {
			return err
		}
		if _, err := s.Recv(); err != nil {
			return err
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if _, err := s.Recv(); err != io.EOF {
		return fmt.Errorf("at the end: %w", err)
	}
	return nil
}

func TestAHundredConversationsAtOnce(t *testing.T) {
	g, tenant, cc, _ := newGRPC(t, proxy.Limits{}, true)
	tc := testpb.NewTestServiceClient(cc)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if err := converse(t.Context(), tc, 20); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if tenant.unclean.Load() {
		t.Error("a call was not clean")
	}
	eventually(t, "a hundred records", func() bool { return len(g.records()) == 100 })
}

// Honest use is no flood, neither for the caller's connection nor for the tenant's: many small messages, and what answers them.
func TestLongStreamsOfGRPCAreNoFlood(t *testing.T) {
	const n = 20000
	for name, do := range map[string]func(context.Context, testpb.TestServiceClient) error{
		"server streaming": func(ctx context.Context, tc testpb.TestServiceClient) error {
			ask := &testpb.StreamingOutputCallRequest{}
			for range n {
				ask.ResponseParameters = append(ask.ResponseParameters, &testpb.ResponseParameters{Size: 1})
			}
			s, err := tc.StreamingOutputCall(ctx, ask)
			for i := 0; err == nil; i++ {
				if _, err = s.Recv(); err == io.EOF && i != n {
					return fmt.Errorf("got %d messages", i)
				}
			}
			if err == io.EOF {
				err = nil
			}
			return err
		},
		"client streaming": func(ctx context.Context, tc testpb.TestServiceClient) error {
			s, err := tc.StreamingInputCall(ctx)
			for i := 0; i < n && err == nil; i++ {
				err = s.Send(&testpb.StreamingInputCallRequest{Payload: payload(1)})
			}
			if err != nil {
				return err
			}
			got, err := s.CloseAndRecv()
			if err == nil && got.AggregatedPayloadSize != n {
				err = fmt.Errorf("the tenant got %d octets", got.AggregatedPayloadSize)
			}
			return err
		},
		"both": func(ctx context.Context, tc testpb.TestServiceClient) error { return converse(ctx, tc, n/4) },
		"unary": func(ctx context.Context, tc testpb.TestServiceClient) error {
			for range n / 10 {
				if _, err := tc.EmptyCall(ctx, &testpb.Empty{}); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, cc, _ := newGRPC(t, proxy.Limits{}, true)
			if err := do(t.Context(), testpb.NewTestServiceClient(cc)); err != nil {
				t.Error(err)
			}
		})
	}
}

// The server may speak first, and either side may be silent for as long as the route allows, which is longer than a caller of another kind may be.
func TestAConversationMayPause(t *testing.T) {
	_, _, cc, _ := newGRPC(t, proxy.Limits{BodyIdleTimeout: 100 * time.Millisecond}, true)
	s, err := testpb.NewTestServiceClient(cc).FullDuplexCall(t.Context())
	must(t, err)
	for range 3 {
		must(t, s.Send(&testpb.StreamingOutputCallRequest{ResponseParameters: []*testpb.ResponseParameters{{Size: 1}}}))
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
	}
}

func TestRevocationCutsAConversation(t *testing.T) {
	g, tenant, cc, c := newGRPC(t, proxy.Limits{}, true)
	s, err := testpb.NewTestServiceClient(cc).FullDuplexCall(t.Context())
	must(t, err)
	must(t, s.Send(&testpb.StreamingOutputCallRequest{ResponseParameters: []*testpb.ResponseParameters{{Size: 1}}}))
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	g.change(func(tx *identity.Tx) error {
		_, err := tx.RevokeCertificate(t.Context(), identity.FingerprintOf(c.leaf.Raw), "keyCompromise", time.Now())
		return err
	})
	if _, err := s.Recv(); err == nil || err == io.EOF {
		t.Errorf("the conversation ended with %v", err)
	}
	if err := <-tenant.ended; err != context.Canceled {
		t.Errorf("at the tenant it ended with %v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("cut after %v", took)
	}
	g.recordWhere("the cut", func(r map[string]any) bool { return r["outcome"] == record.RevokedInFlight.String() })
}

func TestACallerThatCancelsIsSeenByTheTenant(t *testing.T) {
	g, tenant, cc, _ := newGRPC(t, proxy.Limits{}, true)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := testpb.NewTestServiceClient(cc).FullDuplexCall(ctx)
	must(t, err)
	must(t, s.Send(&testpb.StreamingOutputCallRequest{ResponseParameters: []*testpb.ResponseParameters{{Size: 1}}}))
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-tenant.ended:
		if err != context.Canceled {
			t.Errorf("at the tenant it ended with %v", err)
		}
	case <-time.After(time.Second):
		t.Error("the tenant still talks")
	}
	g.recordWhere("the caller's leaving", func(r map[string]any) bool { return r["outcome"] == record.CallerGone.String() })
}

func TestAConversationThatIdlesIsEnded(t *testing.T) {
	g, tenant, cc, _ := newGRPC(t, proxy.Limits{}, true)
	g.change(func(tx *identity.Tx) error {
		r, err := tx.Route("grpc-testservice")
		if err == nil {
			r.IdleTimeout = identity.Duration(300 * time.Millisecond)
			_, err = tx.SetRoute(t.Context(), r)
		}
		return err
	})
	s, err := testpb.NewTestServiceClient(cc).FullDuplexCall(t.Context())
	must(t, err)
	for range 3 { // what passes in either direction counts
		must(t, s.Send(&testpb.StreamingOutputCallRequest{ResponseParameters: []*testpb.ResponseParameters{{Size: 1}}}))
		if _, err := s.Recv(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(150 * time.Millisecond)
	}
	if _, err := s.Recv(); err == nil || err == io.EOF {
		t.Errorf("the conversation ended with %v", err)
	}
	if err := <-tenant.ended; err != context.Canceled {
		t.Errorf("at the tenant it ended with %v", err)
	}
	g.recordWhere("outcome timeout", func(r map[string]any) bool { return r["outcome"] == record.Timeout.String() })
}

func TestARoutesLimitEndsAConversation(t *testing.T) {
	g, _, cc, _ := newGRPC(t, proxy.Limits{}, true)
	g.change(func(tx *identity.Tx) error {
		r, err := tx.Route("grpc-testservice")
		if err == nil {
			r.MaxBody = 1 << 10
			_, err = tx.SetRoute(t.Context(), r)
		}
		return err
	})
	if _, err := testpb.NewTestServiceClient(cc).UnaryCall(t.Context(), &testpb.SimpleRequest{Payload: payload(4 << 10)}); err == nil {
		t.Error("the message passed")
	}
	g.recordWhere("outcome body_too_large", func(r map[string]any) bool { return r["outcome"] == record.BodyTooLarge.String() })
}
