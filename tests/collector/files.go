package main

import (
	"bufio"
	"context"
	"os"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
)

// A file of OTLP's JSON, one request a line: what `otlpjsonfile` of the Collector's contributed parts reads, with the
// Collector's own reader of a line, as that one does.
type filesConfig struct {
	Path string `mapstructure:"path"`
}

type files struct {
	path string
	next consumer.Traces
}

func newFilesFactory() receiver.Factory {
	create := func(
		_ context.Context, _ receiver.Settings, config component.Config, next consumer.Traces,
	) (receiver.Traces, error) {
		return &files{config.(*filesConfig).Path, next}, nil
	}
	return receiver.NewFactory(
		component.MustNewType("otlpjsonfile"),
		func() component.Config { return &filesConfig{} },
		receiver.WithTraces(create, component.StabilityLevelStable))
}

func (files *files) Start(ctx context.Context, _ component.Host) error {
	file, err := os.Open(files.path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(lines.Bytes())
		if err != nil {
			return err
		}
		if err := files.next.ConsumeTraces(ctx, traces); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (*files) Shutdown(context.Context) error { return nil }
