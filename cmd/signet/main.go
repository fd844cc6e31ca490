package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	env := &cliEnv{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Environ: os.Environ()} //nolint:forbidigo // handed to those who may read it
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, env, os.Args[1:])
	stop()
	os.Exit(code)
}
