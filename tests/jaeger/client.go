// Reads the answers of `tracer view` with Jaeger's own types and OTLP's, strictly: a field that they do not know is an error.
// `cargo xtask jaeger` builds it within Jaeger's module, whose types are internal to it, and gives it the address to ask.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/gogo/protobuf/jsonpb"
	"github.com/gogo/protobuf/proto"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/jaegertracing/jaeger/internal/proto/api_v3"
	ui "github.com/jaegertracing/jaeger/internal/uimodel"
)

type problem struct {
	Code    int    `json:"code,omitempty"`
	Msg     string `json:"msg"`
	TraceID string `json:"traceID,omitempty"`
}

// answer is what Jaeger's pages read: `structuredResponse` of cmd/query/app.
type answer[T any] struct {
	Data   T         `json:"data"`
	Total  int       `json:"total"`
	Limit  int       `json:"limit"`
	Offset int       `json:"offset"`
	Errors []problem `json:"errors"`
}

func check(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func get(path string) []byte {
	response, err := http.Get(os.Args[1] + path)
	check(err, path)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(err, path)
	if response.StatusCode != http.StatusOK {
		check(fmt.Errorf("%s: %s", response.Status, body), path)
	}
	return body
}

func v1[T any](path string) T {
	var read answer[T]
	decoder := json.NewDecoder(bytes.NewReader(get(path)))
	decoder.DisallowUnknownFields()
	check(decoder.Decode(&read), path)
	return read.Data
}

func v3[T proto.Message](path string, into T) T {
	check(jsonpb.Unmarshal(bytes.NewReader(get(path)), into), path)
	return into
}

// strictly reads OTLP's JSON with protobuf's own reader, which takes ids in base64.
func strictly(path string) int {
	var body struct {
		Result json.RawMessage `json:"result"`
	}
	decoder := json.NewDecoder(bytes.NewReader(get(path)))
	decoder.DisallowUnknownFields()
	check(decoder.Decode(&body), path)
	var of any
	numbers := json.NewDecoder(bytes.NewReader(body.Result))
	numbers.UseNumber()
	check(numbers.Decode(&of), path)
	converted, err := json.Marshal(withBase64(of))
	check(err, path)
	var traces otlp.TracesData
	check(protojson.Unmarshal(converted, &traces), path)
	spans := 0
	for _, resource := range traces.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				if len(span.TraceId) != 16 || len(span.SpanId) != 8 {
					check(fmt.Errorf("ids of %d and %d bytes", len(span.TraceId), len(span.SpanId)), path)
				}
				spans++
			}
		}
	}
	return spans
}

func withBase64(of any) any {
	switch of := of.(type) {
	case []any:
		for n := range of {
			of[n] = withBase64(of[n])
		}
	case map[string]any:
		for key, value := range of {
			text, isText := value.(string)
			if isText && (key == "traceId" || key == "spanId" || key == "parentSpanId") {
				id, err := hex.DecodeString(text)
				check(err, key)
				of[key] = base64.StdEncoding.EncodeToString(id)
			} else {
				of[key] = withBase64(value)
			}
		}
	}
	return of
}

func main() {
	services := v1[[]string]("/api/services")
	if same := v3("/api/v3/services", &api_v3.GetServicesResponse{}).Services; len(same) != len(services) {
		check(fmt.Errorf("%d services, and %d of version 3", len(services), len(same)), "/api/v3/services")
	}
	const window = "query.start_time_min=2020-01-01T00:00:00Z&query.start_time_max=2100-01-01T00:00:00Z&query.num_traces=1000"
	traces, spans := map[ui.TraceID]bool{}, 0
	for _, service := range services {
		name := url.QueryEscape(service)
		operations := v1[[]ui.Operation]("/api/operations?service=" + name)
		same := v3("/api/v3/operations?service="+name, &api_v3.GetOperationsResponse{}).Operations
		if len(same) != len(operations) {
			check(fmt.Errorf("%d operations, and %d of version 3", len(operations), len(same)), service)
		}
		found := v1[[]ui.Trace]("/api/traces?limit=1000&start=0&service=" + name)
		path := "/api/v3/traces?" + window + "&query.service_name=" + name
		v3(path, &api_v3.GRPCGatewayWrapper{})
		if strictly(path) == 0 || len(found) == 0 {
			check(fmt.Errorf("no traces"), service)
		}
		for _, trace := range found {
			traces[trace.TraceID] = true
		}
	}
	for id := range traces {
		v1[[]ui.Trace]("/api/traces/" + string(id))
		result := v3("/api/v3/traces/"+string(id), &api_v3.GRPCGatewayWrapper{}).Result
		count := result.ToTraces().SpanCount()
		if read := strictly("/api/v3/traces/" + string(id)); read != count {
			check(fmt.Errorf("%d and %d spans", read, count), string(id))
		}
		spans += count
	}
	links := v1[[]ui.DependencyLink]("/api/dependencies")
	fmt.Printf("Jaeger's types read %d services, %d traces of %d spans and %d dependencies\n",
		len(services), len(traces), spans, len(links))
}
