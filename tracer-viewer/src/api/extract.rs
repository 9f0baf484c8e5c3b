//! Parameters and path segments, with errors in the API's form.

use axum::extract::{FromRequestParts, Path, rejection::PathRejection};
use http::request::Parts;
use tracer_model::span::TraceId;

use super::query::{FromQuery, read};
use crate::problem::Problem;

/// Query parameters.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: FromQuery, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        read(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// The segment of the path that varies.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let wrong = |_| Problem::wrong("the path is no UTF-8 once its % codes are read");
        path.map(|Path(segment)| Self(segment)).map_err(wrong)
    }
}

/// The id of a trace in the path.
pub(crate) struct TraceSegment(pub(crate) TraceId);

impl<S: Send + Sync> FromRequestParts<S> for TraceSegment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        let wrong = || {
            let shown: String = text.chars().take(40).collect();
            Problem::wrong(format!(
                "{shown:?} is no id of a trace: give up to 32 hexadecimal digits, not all zero"
            ))
        };
        TraceId::parse(&text).map(Self).ok_or_else(wrong)
    }
}
