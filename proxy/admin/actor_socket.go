package admin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
)

// socketUser is the context key of the user at the other end of the admin socket.
type socketUser struct{}

// SocketConnContext notes whose a connection of the admin socket is. It is for [http.Server.ConnContext], and [SocketActor] needs it.
func SocketConnContext(ctx context.Context, conn net.Conn) context.Context {
	uid, err := peerUID(conn)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, socketUser{}, uid)
}

// SocketActor names who calls over the socket, as the kernel knows it: "unix:uid=0(root)". Only this process's own user and root are
// administrators. It is for [Server.Actor]. The name of a user is looked up for people who read the records; the number counts.
func SocketActor(r *http.Request) (string, error) {
	uid, ok := r.Context().Value(socketUser{}).(uint32)
	if !ok {
		return "", errors.New("the user at the other end of the connection is not known")
	}
	id := strconv.FormatUint(uint64(uid), 10)
	if !mayAdminister(uid) {
		return "", errors.New("user " + id + " is neither the server's own user nor root")
	}
	name := "?"
	if u, err := user.LookupId(id); err == nil {
		name = u.Username
	}
	return "unix:uid=" + id + "(" + name + ")", nil
}

func mayAdminister(uid uint32) bool { return uid == 0 || int64(uid) == int64(os.Geteuid()) }
