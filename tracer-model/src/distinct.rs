//! Equal things are one, whether they are shared or not: resources and scopes.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    ptr,
    sync::Arc,
};

use crate::span::{Attribute, Resource, Scope, Value};

/// Gives equal things the same place: 0, 1, … in the order in which they first come.
pub(crate) struct Distinct<'a, T> {
    /// By the address of a thing, as most are shared.
    by_address: HashMap<*const T, usize>,
    /// By what it is: the hash of its parts.
    by_hash: HashMap<u64, Vec<usize>>,
    things: Vec<&'a Arc<T>>,
}

impl<T> Default for Distinct<'_, T> {
    fn default() -> Self {
        Self { by_address: HashMap::new(), by_hash: HashMap::new(), things: Vec::new() }
    }
}

impl<'a, T: Content> Distinct<'a, T> {
    /// Things of one hash that are compared. Those that are equal to none, not even to themselves (NaN), must not make this
    /// slow.
    const COMPARED: usize = 8;

    /// The place of a thing.
    pub(crate) fn place(&mut self, thing: &'a Arc<T>) -> usize {
        *self.by_address.entry(ptr::from_ref(&**thing)).or_insert_with(|| {
            let mut hasher = DefaultHasher::new();
            thing.hash_content(&mut hasher);
            let alike = self.by_hash.entry(hasher.finish()).or_default();
            let known = alike.iter().rev().take(Self::COMPARED).find(|at| *self.things[**at] == *thing);
            known.copied().unwrap_or_else(|| {
                alike.push(self.things.len());
                self.things.push(thing);
                self.things.len() - 1
            })
        })
    }

    /// The things, each at its place.
    pub(crate) fn things(&self) -> &[&'a Arc<T>] {
        &self.things
    }
}

/// What can be told apart by what it is.
pub(crate) trait Content: PartialEq {
    /// Equal things give equal hashes.
    fn hash_content(&self, hasher: &mut DefaultHasher);
}

impl Content for Resource {
    fn hash_content(&self, hasher: &mut DefaultHasher) {
        hash_attributes(&self.attributes, hasher);
        self.dropped_attributes.hash(hasher);
        self.schema_url.hash(hasher);
    }
}

impl Content for Scope {
    fn hash_content(&self, hasher: &mut DefaultHasher) {
        (&self.name, &self.version, &self.schema_url).hash(hasher);
        hash_attributes(&self.attributes, hasher);
        self.dropped_attributes.hash(hasher);
    }
}

fn hash_attributes(attributes: &[Attribute], hasher: &mut DefaultHasher) {
    attributes.len().hash(hasher);
    for (key, value) in attributes {
        key.hash(hasher);
        hash_value(value, hasher);
    }
}

fn hash_value(value: &Value, hasher: &mut DefaultHasher) {
    std::mem::discriminant(value).hash(hasher);
    match value {
        Value::Str(text) => text.hash(hasher),
        Value::Bool(truth) => truth.hash(hasher),
        Value::Int(number) => number.hash(hasher),
        // Zero and minus zero are equal, and have different bits.
        Value::Double(number) => (number + 0.0).to_bits().hash(hasher),
        Value::Bytes(bytes) => bytes.hash(hasher),
        Value::Array(values) => {
            values.len().hash(hasher);
            for value in values {
                hash_value(value, hasher);
            }
        }
        Value::Map(values) => hash_attributes(values, hasher),
        Value::Empty => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(value: Value) -> Arc<Resource> {
        Arc::new(Resource { attributes: vec![("a".into(), value)], ..Resource::default() })
    }

    #[test]
    fn equal_things_have_one_place_and_others_their_own() {
        let things = [0.0, 1.0, -0.0, 1.0].map(|number| resource(Value::Double(number)));
        let mut distinct = Distinct::default();
        assert_eq!(things.iter().map(|thing| distinct.place(thing)).collect::<Vec<_>>(), [0, 1, 0, 1]);
        assert_eq!(distinct.things(), [&things[0], &things[1]]);
    }

    #[test]
    fn things_that_are_not_equal_to_themselves_stay_apart_and_fast() {
        let things: Vec<_> = (0..50_000).map(|_| resource(Value::Double(f64::NAN))).collect();
        let mut distinct = Distinct::default();
        let places: Vec<_> = things.iter().map(|thing| distinct.place(thing)).collect();
        assert!(places.iter().copied().eq(0..things.len()));
        assert_eq!(distinct.place(&things[7]), 7, "the same one is known by its address");
    }
}
