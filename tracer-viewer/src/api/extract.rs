//! Parameters and path segments, with errors in the API's form.

use axum::extract::{FromRequestParts, Path, Query, rejection::PathRejection};
use http::request::Parts;
use serde::de::DeserializeOwned;
use tracer_model::span::TraceId;

use crate::problem::Problem;

/// Query parameters.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let parsed = Query::<T>::try_from_uri(&parts.uri);
        parsed.map(|Query(parameters)| Self(parameters)).map_err(|error| Problem::wrong(error.body_text()))
    }
}

/// The segment of the path that varies.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(segment)| Self(segment)).map_err(|error| Problem::wrong(error.body_text()))
    }
}

/// The id of a trace in the path.
pub(crate) struct TraceSegment(pub(crate) TraceId);

impl<S: Send + Sync> FromRequestParts<S> for TraceSegment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        let wrong =
            || Problem::wrong("this is no id of a trace: give up to 32 hexadecimal digits, not all zero");
        TraceId::parse(&text).map(Self).ok_or_else(wrong)
    }
}
