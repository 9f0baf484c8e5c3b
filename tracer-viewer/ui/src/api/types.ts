// Names for the types of the API. `schema.ts` is generated from `openapi.json` by `npm run types`.

import type { components } from "./schema";

type Schemas = components["schemas"];

export type Ability = Schemas["Ability"];
export type AgentAnswer = Schemas["AgentAnswer"];
export type AgentCost = Schemas["AgentCost"];
export type AgentProcess = Schemas["AgentProcess"];
export type ApiError = Schemas["ApiError"];
export type AttributeValue = Schemas["AttributeValue"];
export type Change = Schemas["Change"];
export type CompleteAnswer = Schemas["CompleteAnswer"];
export type ExportFormat = Schemas["ExportFormat"];
export type Gap = Schemas["Gap"];
export type Heatmap = Schemas["Heatmap"];
export type HeatmapCell = Schemas["HeatmapCell"];
export type LedgerLine = Schemas["LedgerLine"];
export type LiveLost = Schemas["LiveLost"];
export type MapAnswer = Schemas["MapAnswer"];
export type MapEdge = Schemas["MapEdge"];
export type MapNode = Schemas["MapNode"];
export type Network = Schemas["Network"];
export type NodeKind = Schemas["NodeKind"];
export type OperationRow = Schemas["OperationRow"];
export type Order = Schemas["Order"];
export type Red = Schemas["Red"];
export type Refused = Schemas["Refused"];
export type SearchAnswer = Schemas["SearchAnswer"];
export type Series = Schemas["Series"];
export type ServiceAnswer = Schemas["ServiceAnswer"];
export type ServiceRow = Schemas["ServiceRow"];
export type ServiceShare = Schemas["ServiceShare"];
export type ServicesAnswer = Schemas["ServicesAnswer"];
export type Source = Schemas["Source"];
export type SpanEvent = Schemas["SpanEvent"];
export type SpanKind = Schemas["SpanKind"];
export type SpanLink = Schemas["SpanLink"];
export type StatusAnswer = Schemas["StatusAnswer"];
export type StoreStatus = Schemas["StoreStatus"];
export type Stretch = Schemas["Stretch"];
export type Suggestion = Schemas["Suggestion"];
export type TraceAnswer = Schemas["TraceAnswer"];
export type TraceService = Schemas["TraceService"];
export type TraceSpan = Schemas["TraceSpan"];
export type TraceSummary = Schemas["TraceSummary"];
export type Window = Schemas["Window"];
