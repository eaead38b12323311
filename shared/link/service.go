package link

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc"
)

const (
	serviceName = "kapok.link.v1.Link"
	streamName  = "Connect"
	methodPath  = "/" + serviceName + "/" + streamName
)

// jsonCodec encodes messages as JSON. It is forced on both sides instead of
// being registered, so that it never meets another gRPC user of the process.
type jsonCodec struct{}

func (jsonCodec) Name() string { return "json" }

func (jsonCodec) Marshal(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode link message: %w", err)
	}
	return data, nil
}

func (jsonCodec) Unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode link message: %w", err)
	}
	return nil
}

// handler is what the service description asks of its implementation.
type handler interface {
	connect(ctx context.Context, t transport) error
}

var _ handler = (*Hub)(nil)

// serviceDesc describes the one method of the service.
func serviceDesc() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*handler)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName:    streamName,
			ServerStreams: true,
			ClientStreams: true,
			Handler: func(srv any, stream grpc.ServerStream) error {
				return srv.(handler).connect(stream.Context(), serverTransport{stream})
			},
		}},
	}
}

func clientStreamDesc() *grpc.StreamDesc {
	return &grpc.StreamDesc{StreamName: streamName, ServerStreams: true, ClientStreams: true}
}

type serverTransport struct{ stream grpc.ServerStream }

func (t serverTransport) Send(env *Envelope) error { return t.stream.SendMsg(env) }

func (t serverTransport) Recv() (*Envelope, error) {
	env := new(Envelope)
	if err := t.stream.RecvMsg(env); err != nil {
		return nil, err
	}
	return env, nil
}

type clientTransport struct{ stream grpc.ClientStream }

func (t clientTransport) Send(env *Envelope) error { return t.stream.SendMsg(env) }

func (t clientTransport) Recv() (*Envelope, error) {
	env := new(Envelope)
	if err := t.stream.RecvMsg(env); err != nil {
		return nil, err
	}
	return env, nil
}
