package etcdtest

import (
	"os/exec"
	"syscall"
)

// dieWithParent kills etcd when the test process ends.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
