//! Carriers of trace contexts: whatever has named values, such as the header fields of HTTP, gRPC, Kafka or AMQP.

/// Something that trace contexts travel in (OpenTelemetry's word: its propagators get values by name from a carrier).
pub trait Carrier {
    /// The values of the fields of this name, compared without case, in the order in which they came.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;

    /// The value of a field that came exactly once.
    fn only<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }
}
