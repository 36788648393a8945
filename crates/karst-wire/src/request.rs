//! Requests: the body of a message frame as borrowed views.
//!
//! [`Message::parse`] walks the body once and checks every boundary; afterwards fields are looked
//! up and operations walked without any further chance of failure. Nothing is allocated and nothing
//! copied but the header: this is on the path of every request.
//!
//! What is checked here is the shape: sizes, counts, names. Which flags and operations go together,
//! and what values mean, is the business of those who carry the request out. The rows of a batch
//! ([`crate::batch`]) become messages of the same type, so that a row and a single request are
//! treated alike.

mod fields;
mod index_range;
mod ops;
mod partitions;
#[cfg(test)]
mod tests;

use karst_data::key::{Digest, NAMESPACE_BYTES_MAX, SET_BYTES_MAX};

use crate::field;
use crate::frame::{MESSAGE_HEADER_BYTES, MessageHeader};
use crate::particle;

pub use crate::flags::{Info1, Info2, Info3, Info4, ScReadMode};
pub use crate::malformed::Malformed;
pub use crate::op::{BIN_NAME_BYTES_MAX, OPS_MAX, OpCode, OpKind};
pub use fields::Fields;
pub use index_range::{IndexKind, IndexRange, Target};
pub use ops::{Op, OpIter, Ops};
pub use partitions::{PartitionFilter, Resume};

/// Value of [`field::UDF_OP`]: run over the records of a query and return its results.
const UDF_OP_AGGREGATION: u8 = 1;

/// Value of [`field::UDF_OP`]: run over the records of a query and return nothing.
const UDF_OP_BACKGROUND: u8 = 2;

/// One request, or one row of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Flags, generation, times and counts. A batch row's is made up from the row's attributes.
    pub header: MessageHeader,
    /// What the request is about.
    pub fields: Fields<'a>,
    /// What is to be done.
    pub ops: Ops<'a>,
}

/// What a request asks for, as far as its shape tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Read one record.
    Read,
    /// Write one record; may read it too.
    Write,
    /// Delete one record.
    Delete,
    /// Run a function on one record.
    Udf,
    /// Many single-record requests in one, see [`crate::batch`].
    Batch,
    /// Stream the records of partitions, or of an index, to the client.
    Query,
    /// Apply operations to the records of a query, in the background.
    BackgroundOps,
    /// Run a function on the records of a query, in the background.
    BackgroundUdf,
    /// Run a function over the records of a query and stream its results.
    Aggregation,
}

/// A user key as it came: one byte of particle type, then the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserKey<'a>(pub &'a [u8]);

impl<'a> UserKey<'a> {
    /// Type of the key, one of [`crate::particle`]; `None` if the key is empty.
    pub fn particle(self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The key's value; empty if the key is.
    pub fn value(self) -> &'a [u8] {
        self.0.get(1..).unwrap_or_default()
    }

    /// Whether a record may store this key: it has a type, and an integer has eight bytes.
    ///
    /// # Errors
    /// [`Malformed::KeyUnstorable`] if not.
    pub fn check_storable(self) -> Result<(), Malformed> {
        let bytes = self.0.len();
        match self.particle() {
            None => Err(Malformed::KeyUnstorable { bytes }),
            Some(particle::INTEGER) if bytes != 9 => Err(Malformed::KeyUnstorable { bytes }),
            Some(_) => Ok(()),
        }
    }
}

/// The namespace and digest that a single-record message seems to be about, found without checking
/// anything else: a hint for who wants to fetch ahead what the message will need.
#[inline]
pub fn peek_record(body: &[u8]) -> Option<(&[u8], &[u8; Digest::BYTES])> {
    let (header, mut rest) = body.split_first_chunk::<MESSAGE_HEADER_BYTES>()?;
    let mut namespace = None;
    for _ in 0..u16::from_be_bytes([header[18], header[19]]) {
        let (size, after) = rest.split_first_chunk::<4>()?;
        let (field, after) = after.split_at_checked(u32::from_be_bytes(*size) as usize)?;
        rest = after;
        match field.split_first()? {
            (&field::NAMESPACE, name) => namespace = Some(name),
            (&field::DIGEST, digest) => return Some((namespace?, digest.try_into().ok()?)),
            _ => {}
        }
    }
    None
}

impl<'a> Message<'a> {
    /// Reads the body of a message frame. Fields and operations must end exactly where it ends.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong and with which code to answer.
    #[inline]
    pub fn parse(body: &'a [u8]) -> Result<Message<'a>, Malformed> {
        let (header, mut rest) = body
            .split_first_chunk::<MESSAGE_HEADER_BYTES>()
            .ok_or(Malformed::Header { bytes: body.len() })?;
        let header = MessageHeader::parse(header);
        let fields = Fields::take(&mut rest, header.field_count)?;
        let (ops, fault) = Ops::take(&mut rest, header.op_count)?;
        if !rest.is_empty() {
            return Err(Malformed::Trailing { bytes: rest.len() });
        }
        match fault {
            Some(fault) => Err(fault),
            None => Ok(Message {
                header,
                fields,
                ops,
            }),
        }
    }

    /// Appends a single-record request as a message body of its own: what another node needs to carry it
    /// out as if it had come there.
    pub fn put(&self, out: &mut Vec<u8>) {
        let fields = self.fields.of_one_record();
        let given = fields.iter().filter(|(_, data)| data.is_some()).count();
        let header = MessageHeader {
            field_count: given as u16, // there are nine at most
            op_count: self.ops.len() as u16,
            ..self.header
        };
        out.extend(header.to_bytes());
        for (id, data) in fields {
            if let Some(data) = data {
                out.extend((data.len() as u32 + 1).to_be_bytes());
                out.push(id);
                out.extend(data);
            }
        }
        out.extend(self.ops.bytes());
    }

    /// What the request asks for.
    ///
    /// Only the batch flag, the digest and the flags and fields named in the protocol for this
    /// purpose are looked at; a digest of a wrong size still makes a single-record request.
    ///
    /// # Errors
    /// [`Malformed::NoAction`] and [`Malformed::UdfOp`] if it asks for nothing.
    #[inline]
    pub fn kind(&self) -> Result<Kind, Malformed> {
        if self.header.info1.contains(Info1::BATCH) {
            return Ok(Kind::Batch);
        }
        match self.fields.digest {
            Some(_) => self.single_record_kind(),
            None => self.many_records_kind(),
        }
    }

    fn single_record_kind(&self) -> Result<Kind, Malformed> {
        let writes = self.header.info2.contains(Info2::WRITE);
        let deletes = self.header.info2.contains(Info2::DELETE);
        match (writes, deletes, self.fields.udf_filename) {
            (true, true, _) => Ok(Kind::Delete),
            (true, false, Some(_)) => Ok(Kind::Udf),
            (true, false, None) => Ok(Kind::Write),
            (false, ..) if self.header.info1.contains(Info1::READ) => Ok(Kind::Read),
            (false, ..) => Err(Malformed::NoAction),
        }
    }

    fn many_records_kind(&self) -> Result<Kind, Malformed> {
        if self.fields.udf_filename.is_none() {
            return Ok(match self.header.info2.contains(Info2::WRITE) {
                true => Kind::BackgroundOps,
                false => Kind::Query,
            });
        }
        match self.fields.udf_op {
            Some([UDF_OP_AGGREGATION]) => Ok(Kind::Aggregation),
            Some([UDF_OP_BACKGROUND]) => Ok(Kind::BackgroundUdf),
            Some(_) | None => Err(Malformed::UdfOp),
        }
    }

    /// The namespace's name.
    ///
    /// # Errors
    /// [`Malformed::NamespaceMissing`] or [`Malformed::NamespaceLong`]: no namespace has this name.
    #[inline]
    pub fn namespace(&self) -> Result<&'a [u8], Malformed> {
        match self.fields.namespace {
            None => Err(Malformed::NamespaceMissing),
            Some(name) if name.len() > NAMESPACE_BYTES_MAX => {
                Err(Malformed::NamespaceLong { bytes: name.len() })
            }
            Some(name) => Ok(name),
        }
    }

    /// The set's name; `None` if the field is absent or empty.
    ///
    /// # Errors
    /// [`Malformed::SetLong`]: no set can have this name.
    #[inline]
    pub fn set(&self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.fields.set {
            None | Some([]) => Ok(None),
            Some(name) if name.len() > SET_BYTES_MAX => {
                Err(Malformed::SetLong { bytes: name.len() })
            }
            Some(name) => Ok(Some(name)),
        }
    }

    /// The digest of the record; `None` in queries and batch parents.
    ///
    /// # Errors
    /// [`Malformed::FieldSize`] if it does not have 20 bytes.
    #[inline]
    pub fn digest(&self) -> Result<Option<Digest>, Malformed> {
        Ok(fixed(field::DIGEST, self.fields.digest)?.map(Digest))
    }

    /// The user key, if the client sends it.
    #[inline]
    pub fn key(&self) -> Option<UserKey<'a>> {
        self.fields.key.map(UserKey)
    }

    /// The transaction the request belongs to.
    ///
    /// # Errors
    /// [`Malformed::FieldSize`] if it does not have 8 bytes.
    pub fn transaction_id(&self) -> Result<Option<u64>, Malformed> {
        let bytes = fixed(field::TRANSACTION_ID, self.fields.transaction_id)?;
        Ok(bytes.map(u64::from_le_bytes))
    }

    /// The client's number for a scan or query; `None` or 0: the server picks one.
    ///
    /// # Errors
    /// [`Malformed::FieldSize`] if it does not have 8 bytes.
    pub fn task_id(&self) -> Result<Option<u64>, Malformed> {
        Ok(fixed(field::TASK_ID, self.fields.task_id)?.map(u64::from_be_bytes))
    }

    /// How long one send to the client may block, in milliseconds; 0: without limit.
    ///
    /// # Errors
    /// [`Malformed::FieldSize`] if it does not have 4 bytes.
    pub fn socket_timeout_ms(&self) -> Result<Option<u32>, Malformed> {
        Ok(fixed(field::SOCKET_TIMEOUT, self.fields.socket_timeout)?.map(u32::from_be_bytes))
    }

    /// How many records a second a query may take; 0: the server's own limit.
    ///
    /// # Errors
    /// [`Malformed::FieldSize`] if it does not have 4 bytes.
    pub fn records_per_second(&self) -> Result<Option<u32>, Malformed> {
        let bytes = fixed(field::RECORDS_PER_SECOND, self.fields.records_per_second)?;
        Ok(bytes.map(u32::from_be_bytes))
    }

    /// How many records a query returns at most.
    ///
    /// # Errors
    /// [`Malformed::FieldSize`] if it does not have 8 bytes.
    pub fn sample_max(&self) -> Result<Option<u64>, Malformed> {
        Ok(fixed(field::SAMPLE_MAX, self.fields.sample_max)?.map(u64::from_be_bytes))
    }

    /// What a query looks for in an index; `None` for a scan.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn index_range(&self) -> Result<Option<IndexRange<'a>>, Malformed> {
        self.fields.index_range.map(IndexRange::read).transpose()
    }

    /// Which values of a bin a query looks at.
    ///
    /// # Errors
    /// When no index has such.
    pub fn index_kind(&self) -> Result<IndexKind, Malformed> {
        IndexKind::read(self.fields.index_type)
    }

    /// The partitions of a foreground scan or query.
    ///
    /// # Errors
    /// [`Malformed`] if none is named, one is named twice or does not exist, or the lists do not
    /// pair up. This checks up to 4096 entries: ask once and keep the answer.
    pub fn partition_filter(&self) -> Result<PartitionFilter<'a>, Malformed> {
        PartitionFilter::read(&self.fields)
    }
}

/// A field of exactly `N` bytes.
#[inline]
fn fixed<const N: usize>(id: u8, data: Option<&[u8]>) -> Result<Option<[u8; N]>, Malformed> {
    let Some(data) = data else { return Ok(None) };
    match <[u8; N]>::try_from(data) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(_) => Err(Malformed::FieldSize {
            id,
            bytes: data.len(),
            expected: N,
        }),
    }
}
