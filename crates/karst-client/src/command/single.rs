//! Calls on one record: get, exists, put, touch, operate, delete.

use karst_wire::command::{Body, message};
use karst_wire::flags::{Info1, Info2};
use karst_wire::frame::MessageHeader;
use karst_wire::op::OpCode;
use karst_wire::particle;

use crate::client::Client;
use crate::command::{Call, Reply, record_fields};
use crate::error::Result;
use crate::key::Key;
use crate::operation::{Operation, encode_value};
use crate::policy::{Bins, ReadMode, ReadPolicy, Replica, WritePolicy};
use crate::record::{Bin, Record};
use crate::retry::{Access, Repeat};

impl Client {
    /// Reads a record with the default policy; `None` if there is none.
    ///
    /// # Errors
    /// What [`crate::Error`] says; reads are never in doubt.
    pub async fn get(&self, key: &Key) -> Result<Option<Record>> {
        self.get_with(&ReadPolicy::default(), key, &Bins::All).await
    }

    /// Reads the named bins of a record with the default policy. Bins the record does not have are
    /// left out.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_bins(&self, key: &Key, names: &[&str]) -> Result<Option<Record>> {
        let bins = Bins::named(names.iter().copied());
        self.get_with(&ReadPolicy::default(), key, &bins).await
    }

    /// Reads a record.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get_with(
        &self,
        policy: &ReadPolicy,
        key: &Key,
        bins: &Bins,
    ) -> Result<Option<Record>> {
        let header = MessageHeader {
            info1: policy.info1() | bins_flags(bins),
            info3: policy.read_mode.flags(),
            ..MessageHeader::default()
        };
        let reply = self
            .call(read_call(policy, key), |out, timeout_ms| {
                let transaction_ttl = timeout_ms;
                let header = MessageHeader {
                    transaction_ttl,
                    ..header
                };
                message(out, header, |body| {
                    record_fields(body, key, policy.send_key, policy.filter.as_ref());
                    encode_bin_names(body, bins);
                })
            })
            .await?;
        record_of(&reply)
    }

    /// Whether a record exists, with the default policy.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn exists(&self, key: &Key) -> Result<bool> {
        let policy = ReadPolicy::default();
        let record = self.get_with(&policy, key, &Bins::None).await?;
        Ok(record.is_some())
    }

    /// Writes bins with the default policy: creates the record or changes these bins of it.
    ///
    /// # Errors
    /// What [`crate::Error`] says. Only if [`crate::Error::in_doubt`] is true may the write have been
    /// applied.
    pub async fn put(&self, key: &Key, bins: impl IntoIterator<Item = Bin>) -> Result<()> {
        self.put_with(&WritePolicy::default(), key, bins).await
    }

    /// Writes bins.
    ///
    /// # Errors
    /// As [`Client::put`]; also `NotFound`, `RecordExists` and `Generation` as the policy asks.
    pub async fn put_with(
        &self,
        policy: &WritePolicy,
        key: &Key,
        bins: impl IntoIterator<Item = Bin>,
    ) -> Result<()> {
        let bins: Vec<Bin> = bins.into_iter().collect();
        let header = write_header(policy);
        let reply = self
            .write(policy, key, header, |body| {
                for bin in &bins {
                    encode_value(body, OpCode::Write, &bin.name, &bin.value);
                }
            })
            .await?;
        if reply.found() {
            Ok(())
        } else {
            Err(reply.not_found())
        }
    }

    /// Renews the life of a record as the policy's [`crate::Ttl`] says; false if there is none.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn touch(&self, policy: &WritePolicy, key: &Key) -> Result<bool> {
        let header = write_header(policy);
        let touch = Operation::touch();
        let reply = self.write(policy, key, header, |body| touch.encode(body));
        Ok(reply.await?.found())
    }

    /// Deletes a record with the default policy; false if there was none.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn delete(&self, key: &Key) -> Result<bool> {
        self.delete_with(&WritePolicy::default(), key).await
    }

    /// Deletes a record; false if there was none.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn delete_with(&self, policy: &WritePolicy, key: &Key) -> Result<bool> {
        let header = delete_header(policy);
        let reply = self.write(policy, key, header, |_| {}).await?;
        Ok(reply.found())
    }

    /// Runs operations on a record in order, all or nothing, and returns what they returned; `None`
    /// if there is no record to run them on.
    ///
    /// Operations that only read change nothing and are retried like reads.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn operate(
        &self,
        policy: &WritePolicy,
        key: &Key,
        operations: &[Operation],
    ) -> Result<Option<Record>> {
        let (access, header) = operate_header(policy, operations);
        let steps = |body: &mut Body<'_>| {
            operations
                .iter()
                .for_each(|operation| operation.encode(body));
        };
        let call = write_call(policy, key, access);
        let reply = self.write_as(call, policy, header, steps).await?;
        record_of(&reply)
    }

    pub(super) async fn write(
        &self,
        policy: &WritePolicy,
        key: &Key,
        header: MessageHeader,
        steps: impl Fn(&mut Body<'_>),
    ) -> Result<Reply> {
        let call = write_call(policy, key, Access::Write);
        self.write_as(call, policy, header, steps).await
    }

    async fn write_as(
        &self,
        call: Call<'_>,
        policy: &WritePolicy,
        header: MessageHeader,
        steps: impl Fn(&mut Body<'_>),
    ) -> Result<Reply> {
        let key = call.key;
        self.call(call, |out, timeout_ms| {
            let transaction_ttl = timeout_ms;
            let header = MessageHeader {
                transaction_ttl,
                ..header
            };
            message(out, header, |body| {
                record_fields(body, key, policy.send_key, policy.filter.as_ref());
                steps(body);
            })
        })
        .await
    }
}

fn read_call<'a>(policy: &ReadPolicy, key: &'a Key) -> Call<'a> {
    Call {
        key,
        access: Access::Read,
        timeout: policy.timeout,
        attempt_timeout: policy.attempt_timeout,
        retry: policy.retry,
        repeat: Repeat::IfNotApplied, // reads are never in doubt
        replica: policy.replica,
        hedge: policy.hedge,
        read_mode: policy.read_mode,
    }
}

fn write_call<'a>(policy: &WritePolicy, key: &'a Key, access: Access) -> Call<'a> {
    Call {
        key,
        access,
        timeout: policy.timeout,
        attempt_timeout: policy.attempt_timeout,
        retry: policy.retry,
        repeat: Repeat::of(policy.idempotent),
        replica: Replica::Sequence,
        hedge: None,
        read_mode: ReadMode::Session,
    }
}

/// The header of a write, without the time the server may take.
pub(super) fn write_header(policy: &WritePolicy) -> MessageHeader {
    MessageHeader {
        info2: policy.info2(),
        info3: policy.info3(),
        generation: policy.expected_generation().into(),
        record_ttl: policy.ttl.on_wire(),
        ..MessageHeader::default()
    }
}

/// The header of a delete: whether the record exists is for the answer to say, not for the policy.
pub(super) fn delete_header(policy: &WritePolicy) -> MessageHeader {
    MessageHeader {
        info2: policy.info2().without(Info2::CREATE_ONLY) | Info2::DELETE,
        info3: policy.commit_flags(),
        record_ttl: 0,
        ..write_header(policy)
    }
}

/// The header of a list of operations, and whether any of them writes.
pub(super) fn operate_header(
    policy: &WritePolicy,
    operations: &[Operation],
) -> (Access, MessageHeader) {
    let asked = operations.iter().map(Operation::info1);
    let info1 = asked.fold(Info1::NONE, |all, own| all | own);
    let (access, header) = match operations.iter().any(Operation::writes) {
        true => (Access::Write, write_header(policy)),
        false => (Access::Read, MessageHeader::default()),
    };
    // Servers refuse one result per operation together with a read of the whole record.
    let one_each = policy.respond_all_ops && !info1.contains(Info1::GET_ALL);
    let respond = if one_each {
        Info2::RESPOND_ALL_OPS
    } else {
        Info2::NONE
    };
    let header = MessageHeader {
        info1,
        info2: header.info2 | respond,
        ..header
    };
    (access, header)
}

/// The flags that ask for these bins.
pub(super) fn bins_flags(bins: &Bins) -> Info1 {
    match bins {
        Bins::All => Info1::GET_ALL,
        Bins::None => Info1::GET_NO_BINS,
        Bins::Some(names) if names.is_empty() => Info1::GET_NO_BINS,
        Bins::Some(_) => Info1::NONE,
    }
}

/// Writes one read operation for each named bin.
pub(super) fn encode_bin_names(body: &mut Body<'_>, bins: &Bins) {
    if let Bins::Some(names) = bins {
        for name in names {
            body.op(OpCode::Read, particle::NULL, name, &[]);
        }
    }
}

fn record_of(reply: &Reply) -> Result<Option<Record>> {
    if !reply.found() {
        return Ok(None);
    }
    let in_doubt = reply.access == Access::Write;
    Record::from_answer(&reply.answer()?, in_doubt).map(Some)
}

#[cfg(test)]
mod tests {
    use karst_wire::flags::Info3;

    use super::*;
    use crate::policy::{CommitLevel, Exists, Generation, Ttl};

    #[test]
    fn write_policies_become_the_protocols_flags() {
        let policy = WritePolicy::default()
            .with_exists(Exists::ReplaceOnly)
            .with_generation(Generation::Greater(9))
            .with_ttl(Ttl::Never)
            .with_commit_level(CommitLevel::Master)
            .with_durable_delete(true);
        let header = write_header(&policy);
        let info2 = Info2::WRITE | Info2::GENERATION_GT | Info2::DURABLE_DELETE;
        assert_eq!(header.info2, info2);
        assert_eq!(
            header.info3,
            Info3::REPLACE_ONLY | Info3::COMMIT_LEVEL_MASTER
        );
        assert_eq!((header.generation, header.record_ttl), (9, u32::MAX));
        let header = delete_header(&policy);
        assert_eq!(header.info2, info2 | Info2::DELETE);
        assert_eq!(header.info3, Info3::COMMIT_LEVEL_MASTER);
    }

    #[test]
    fn operations_that_only_read_are_no_write() {
        let policy = WritePolicy::default().with_respond_all_ops(true);
        let (access, header) = operate_header(&policy, &[Operation::get("a")]);
        assert_eq!(access, Access::Read);
        assert_eq!(header.info1, Info1::READ);
        assert_eq!(header.info2, Info2::RESPOND_ALL_OPS);
        let both = [Operation::put("a", 1), Operation::get_all()];
        let (access, header) = operate_header(&policy, &both);
        assert_eq!(access, Access::Write);
        assert_eq!(header.info1, Info1::READ | Info1::GET_ALL);
        assert_eq!(header.info2, Info2::WRITE);
    }
}
