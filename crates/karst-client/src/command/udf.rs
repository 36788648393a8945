//! User-defined functions on one record.

use karst_wire::command::Body;
use karst_wire::response::Answer;

use super::single::write_header;
use crate::client::Client;
use crate::error::Result;
use crate::key::Key;
use crate::policy::WritePolicy;
use crate::record::Record;
use crate::retry::Access;
use crate::udf::Udf;
use crate::value::Value;

/// Names under which servers return what a function returned, and why it failed.
const SUCCESS: &str = "SUCCESS";
const FAILURE: &[u8] = b"FAILURE";

impl Client {
    /// Runs a user-defined function on a record, which need not exist, and returns what it returned.
    ///
    /// ```no_run
    /// use karst_client::{Client, Key, Udf, WritePolicy};
    ///
    /// # async fn example(client: &Client, key: &Key) -> karst_client::Result<()> {
    /// let source = "function raise(rec, name) rec[name] = (rec[name] or 0) + 1 \
    ///     if aerospike:exists(rec) then aerospike:update(rec) else aerospike:create(rec) end \
    ///     return rec[name] end";
    /// let wait = std::time::Duration::from_secs(5);
    /// client.register_udf("counters.lua", source.as_bytes()).await?.wait(wait).await?;
    ///
    /// let call = Udf::new("counters", "raise").arg("visits");
    /// let visits = client.execute(&WritePolicy::default(), key, &call).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Client::put`], and [`Error::Udf`](crate::Error::Udf) if the function failed; then nothing was
    /// written.
    pub async fn execute(&self, policy: &WritePolicy, key: &Key, udf: &Udf) -> Result<Value> {
        let header = write_header(policy);
        let fields = |body: &mut Body<'_>| udf.encode(body);
        let reply = self.write(policy, key, header, fields).await?;
        if !reply.found() {
            return Err(reply.not_found());
        }
        let in_doubt = reply.access == Access::Write;
        let record = Record::from_answer(&reply.answer()?, in_doubt)?;
        Ok(record.bin(SUCCESS).cloned().unwrap_or_default())
    }
}

/// Why a function failed, in the server's words.
pub(super) fn failure(answer: &Answer<'_>) -> String {
    let said = answer.ops().find(|op| op.name == FAILURE);
    let said = said.map(|op| String::from_utf8_lossy(op.value).into_owned());
    said.unwrap_or_else(|| "no reason was given".to_owned())
}
