//! The fields of a message: what it is about.
//!
//! One pass files every known field under its name and steps over the others by their size. Of a
//! field that comes twice the first counts, except that a second digest is refused: a request must
//! not name two records.

use crate::field;
use crate::malformed::Malformed;

/// The data of every known field, without size and id. `None`: not in the message.
///
/// Only the boundaries are checked here; [`crate::request::Message`] has typed accessors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// [`field::NAMESPACE`]
    pub namespace: Option<&'a [u8]>,
    /// [`field::SET`]
    pub set: Option<&'a [u8]>,
    /// [`field::KEY`]
    pub key: Option<&'a [u8]>,
    /// [`field::RECORD_VERSION`]
    pub record_version: Option<&'a [u8]>,
    /// [`field::DIGEST`]; in a batch row, the digest before the row's flags.
    pub digest: Option<&'a [u8]>,
    /// [`field::TRANSACTION_ID`]
    pub transaction_id: Option<&'a [u8]>,
    /// [`field::TRANSACTION_DEADLINE`]
    pub transaction_deadline: Option<&'a [u8]>,
    /// [`field::TASK_ID`]
    pub task_id: Option<&'a [u8]>,
    /// [`field::SOCKET_TIMEOUT`]
    pub socket_timeout: Option<&'a [u8]>,
    /// [`field::RECORDS_PER_SECOND`]
    pub records_per_second: Option<&'a [u8]>,
    /// [`field::PARTITION_IDS`]
    pub partition_ids: Option<&'a [u8]>,
    /// [`field::DIGEST_ARRAY`]
    pub digest_array: Option<&'a [u8]>,
    /// [`field::SAMPLE_MAX`]
    pub sample_max: Option<&'a [u8]>,
    /// [`field::LAST_UPDATE_TIME`]
    pub last_update_time: Option<&'a [u8]>,
    /// [`field::BVAL_ARRAY`]
    pub bval_array: Option<&'a [u8]>,
    /// [`field::INDEX_NAME`]
    pub index_name: Option<&'a [u8]>,
    /// [`field::INDEX_RANGE`]
    pub index_range: Option<&'a [u8]>,
    /// [`field::INDEX_CONTEXT`]
    pub index_context: Option<&'a [u8]>,
    /// [`field::INDEX_EXPRESSION`]
    pub index_expression: Option<&'a [u8]>,
    /// [`field::INDEX_TYPE`]
    pub index_type: Option<&'a [u8]>,
    /// [`field::UDF_FILENAME`]
    pub udf_filename: Option<&'a [u8]>,
    /// [`field::UDF_FUNCTION`]
    pub udf_function: Option<&'a [u8]>,
    /// [`field::UDF_ARGUMENTS`]
    pub udf_arguments: Option<&'a [u8]>,
    /// [`field::UDF_OP`]
    pub udf_op: Option<&'a [u8]>,
    /// [`field::QUERY_BIN_LIST`]
    pub query_bin_list: Option<&'a [u8]>,
    /// [`field::BATCH`] or [`field::BATCH_WITH_SET`]
    pub batch: Option<&'a [u8]>,
    /// [`field::FILTER`]
    pub filter: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// The fields that matter to a request on one record, with their ids.
    pub(crate) fn of_one_record(&self) -> [(u8, Option<&'a [u8]>); 9] {
        [
            (field::NAMESPACE, self.namespace),
            (field::SET, self.set),
            (field::KEY, self.key),
            (field::DIGEST, self.digest),
            (field::FILTER, self.filter),
            (field::TRANSACTION_ID, self.transaction_id),
            (field::UDF_FILENAME, self.udf_filename),
            (field::UDF_FUNCTION, self.udf_function),
            (field::UDF_ARGUMENTS, self.udf_arguments),
        ]
    }

    /// Takes `count` fields off the front of `rest`.
    pub(crate) fn take(rest: &mut &'a [u8], count: u16) -> Result<Fields<'a>, Malformed> {
        let mut fields = Fields::default();
        for index in 0..count {
            let (id, data) = take_field(rest, index, count)?;
            fields.file(id, data)?;
        }
        Ok(fields)
    }

    /// Files one field under its name, unless the name is taken or the id unknown.
    #[inline]
    fn file(&mut self, id: u8, data: &'a [u8]) -> Result<(), Malformed> {
        let slot = match id {
            field::NAMESPACE => &mut self.namespace,
            field::SET => &mut self.set,
            field::KEY => &mut self.key,
            field::RECORD_VERSION => &mut self.record_version,
            field::DIGEST if self.digest.is_some() => return Err(Malformed::DigestTwice),
            field::DIGEST => &mut self.digest,
            field::TRANSACTION_ID => &mut self.transaction_id,
            field::TRANSACTION_DEADLINE => &mut self.transaction_deadline,
            field::TASK_ID => &mut self.task_id,
            field::SOCKET_TIMEOUT => &mut self.socket_timeout,
            field::RECORDS_PER_SECOND => &mut self.records_per_second,
            field::PARTITION_IDS => &mut self.partition_ids,
            field::DIGEST_ARRAY => &mut self.digest_array,
            field::SAMPLE_MAX => &mut self.sample_max,
            field::LAST_UPDATE_TIME => &mut self.last_update_time,
            field::BVAL_ARRAY => &mut self.bval_array,
            field::INDEX_NAME => &mut self.index_name,
            field::INDEX_RANGE => &mut self.index_range,
            field::INDEX_CONTEXT => &mut self.index_context,
            field::INDEX_EXPRESSION => &mut self.index_expression,
            field::INDEX_TYPE => &mut self.index_type,
            field::UDF_FILENAME => &mut self.udf_filename,
            field::UDF_FUNCTION => &mut self.udf_function,
            field::UDF_ARGUMENTS => &mut self.udf_arguments,
            field::UDF_OP => &mut self.udf_op,
            field::QUERY_BIN_LIST => &mut self.query_bin_list,
            field::BATCH | field::BATCH_WITH_SET => &mut self.batch,
            field::FILTER => &mut self.filter,
            _ => return Ok(()),
        };
        slot.get_or_insert(data);
        Ok(())
    }
}

/// Takes one field off the front of `rest`: its id and its data.
#[inline]
fn take_field<'a>(
    rest: &mut &'a [u8],
    index: u16,
    count: u16,
) -> Result<(u8, &'a [u8]), Malformed> {
    let truncated = Malformed::FieldTruncated { index, count };
    let (size, after) = rest.split_first_chunk::<4>().ok_or(truncated)?;
    let size = u32::from_be_bytes(*size) as usize;
    let (field, after) = after.split_at_checked(size).ok_or(truncated)?;
    let (id, data) = field.split_first().ok_or(Malformed::FieldEmpty { index })?;
    *rest = after;
    Ok((*id, data))
}
