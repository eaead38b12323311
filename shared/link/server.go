package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// Server accepts agents for a Hub. It satisfies the manager's Runnable and runs
// on every replica, leader or not.
type Server struct {
	// Address is where to listen, for example ":9443"; unused with Listener.
	Address string
	// Listener replaces Address, for tests and for callers that need the port.
	Listener net.Listener
	// Hub receives the agents.
	Hub *Hub
	// Authority gives the serving certificate.
	Authority *Authority
}

// NeedLeaderElection says that standby replicas serve too.
func (s *Server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	listener := s.Listener
	if listener == nil {
		var err error
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", s.Address)
		if err != nil {
			return fmt.Errorf("listen for agents on %s: %w", s.Address, err)
		}
	}
	server := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(s.Authority.TLSConfig())),
		grpc.ForceServerCodec(jsonCodec{}),
		grpc.MaxRecvMsgSize(MaxMessageSize),
		grpc.MaxSendMsgSize(MaxMessageSize),
		grpc.MaxConcurrentStreams(4),
		grpc.MaxHeaderListSize(32<<10),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.ReadBufferSize(8<<10),
		grpc.WriteBufferSize(8<<10),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			// A connection without a stream has no business here.
			MaxConnectionIdle: time.Minute,
			Time:              10 * time.Second,
			Timeout:           5 * time.Second,
		}),
	)
	server.RegisterService(serviceDesc(), s.Hub)

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve agents on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	// Streams never end by themselves, so there is nothing to wait for.
	server.Stop()
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve agents on %s: %w", listener.Addr(), err)
	}
	return nil
}
