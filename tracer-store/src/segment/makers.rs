//! Who made spans: resources and scopes, each kept once.

use std::{
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::Arc,
};

use tracer_model::span::{Attribute, Resource, Scope, Value};

use super::{
    dictionary::Codes,
    values::{attributes_bytes, shared_bytes},
};

/// Something that many spans share, and that is equal by its contents.
pub(crate) trait Shared: PartialEq {
    fn hash_into(&self, hasher: &mut impl Hasher);
    fn bytes(&self) -> usize;
}

impl Shared for Resource {
    fn hash_into(&self, hasher: &mut impl Hasher) {
        hash_attributes(&self.attributes, hasher);
        self.schema_url.hash(hasher);
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + attributes_bytes(&self.attributes) + shared_bytes(&self.schema_url)
    }
}

impl Shared for Scope {
    fn hash_into(&self, hasher: &mut impl Hasher) {
        self.name.hash(hasher);
        self.version.hash(hasher);
        hash_attributes(&self.attributes, hasher);
    }

    fn bytes(&self) -> usize {
        let texts = shared_bytes(&self.name) + shared_bytes(&self.version) + shared_bytes(&self.schema_url);
        size_of::<Self>() + attributes_bytes(&self.attributes) + texts
    }
}

/// What spans of a segment share, by code.
pub(crate) struct Makers<T> {
    pub(crate) all: Vec<Arc<T>>,
    bytes: usize,
}

impl<T> Default for Makers<T> {
    fn default() -> Self {
        Self { all: Vec::new(), bytes: 0 }
    }
}

impl<T: Shared> Makers<T> {
    pub(crate) fn code(&mut self, codes: &mut Codes, keys: &RandomState, maker: &Arc<T>) -> u32 {
        // Spans of one request share their resource: most often it is the very same.
        if let Some(code) = self.all.iter().take(8).position(|known| Arc::ptr_eq(known, maker)) {
            return code as u32;
        }
        let mut hasher = keys.build_hasher();
        maker.hash_into(&mut hasher);
        let hash = hasher.finish() as u32;
        let (code, is_new) = codes.find_or_add(hash, self.all.len(), |code| self.all[code] == *maker);
        if is_new {
            self.bytes += maker.bytes();
            self.all.push(Arc::clone(maker));
        }
        code
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.all.capacity() * size_of::<Arc<T>>()
    }
}

fn hash_attributes(attributes: &[Attribute], hasher: &mut impl Hasher) {
    for (key, value) in attributes {
        key.hash(hasher);
        hash_value(value, hasher);
    }
}

fn hash_value(value: &Value, hasher: &mut impl Hasher) {
    match value {
        Value::Str(text) => text.hash(hasher),
        Value::Bool(value) => value.hash(hasher),
        Value::Int(number) => number.hash(hasher),
        // NaN is equal to nothing: were its hashes equal, it would be compared with all others of its kind.
        Value::Double(number) if number.is_nan() => std::ptr::from_ref(number).hash(hasher),
        // 0 and -0 are equal.
        Value::Double(number) => (number + 0.0).to_bits().hash(hasher),
        Value::Bytes(bytes) => bytes.hash(hasher),
        Value::Array(values) => values.iter().for_each(|value| hash_value(value, hasher)),
        Value::Map(entries) => hash_attributes(entries, hasher),
        Value::Empty => {}
    }
}
