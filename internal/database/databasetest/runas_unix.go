//go:build unix

package databasetest

import (
	"os/exec"
	"syscall"
)

// runAs has the command run as another user.
func runAs(c *exec.Cmd, uid, gid int) {
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}
