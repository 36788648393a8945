//! Result codes: the one byte in which a server says how a request ended.
//!
//! The numbers are the protocol's and are never reused for another meaning. Negative codes exist
//! only inside clients and never travel. Whether a code means "not applied" or "in doubt" is
//! decided by whoever sends or receives it, not here.

use std::fmt;

/// Declares the codes once, so that the enum, its decoder and its texts cannot drift apart.
macro_rules! result_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)+) => {
        /// How a request ended, as one byte on the wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ResultCode {
            $($(#[$doc])* $name = $number,)+
        }

        impl ResultCode {
            /// Every code, in ascending order of its number.
            pub const ALL: &'static [ResultCode] = &[$(ResultCode::$name),+];

            /// The code with this number, or `None` for a number this table does not know.
            pub const fn from_u8(number: u8) -> Option<ResultCode> {
                match number {
                    $($number => Some(ResultCode::$name),)+
                    _ => None,
                }
            }

            /// A few lower-case words for people, without the number.
            pub const fn text(self) -> &'static str {
                match self {
                    $(ResultCode::$name => $text,)+
                }
            }
        }
    };
}

result_codes! {
    /// Success.
    Ok = 0, "ok";
    /// An internal failure with no code of its own; the last resort.
    Unknown = 1, "server error";
    /// The record does not exist, has expired or was truncated.
    NotFound = 2, "record not found";
    /// The generation check of a write failed.
    Generation = 3, "generation mismatch";
    /// The request is malformed or its flags contradict each other.
    Parameter = 4, "invalid parameter";
    /// A create-only write met an existing record.
    RecordExists = 5, "record exists";
    /// A create-only bin operation met an existing bin.
    BinExists = 6, "bin exists";
    /// The cluster is not the one, or not in the state, the request assumed.
    ClusterKeyMismatch = 7, "cluster key mismatch";
    /// The namespace has stopped taking writes for want of space.
    OutOfSpace = 8, "out of space";
    /// The server gave the request up when its time was over.
    Timeout = 9, "timeout";
    /// Replication writes of another cluster are refused; only old servers send it.
    AlwaysForbidden = 10, "always forbidden";
    /// The partition cannot be served here now.
    Unavailable = 11, "partition unavailable";
    /// The operation does not fit the type of the bin.
    IncompatibleType = 12, "incompatible bin type";
    /// The record would exceed the namespace's size limit.
    RecordTooBig = 13, "record too big";
    /// Too many requests already wait for this key.
    KeyBusy = 14, "key busy";
    /// A scan or query was stopped by an operator.
    QueryAbort = 15, "query aborted";
    /// The server does not know this kind of request.
    UnsupportedFeature = 16, "unsupported feature";
    /// An update-only bin operation found no bin.
    BinNotFound = 17, "bin not found";
    /// The device's write queue is too deep.
    DeviceOverload = 18, "device overload";
    /// The stored key differs from the key in the request.
    KeyMismatch = 19, "key mismatch";
    /// The namespace is missing from the request or unknown here.
    Namespace = 20, "unknown namespace";
    /// A bin name is too long or holds a NUL byte.
    BinName = 21, "invalid bin name";
    /// Policy or configuration forbids the operation.
    Forbidden = 22, "forbidden";
    /// An update-only operation found no such element in a list or map.
    ElementNotFound = 23, "element not found";
    /// A create-only or unique operation met an existing element in a list or map.
    ElementExists = 24, "element exists";
    /// The server's edition lacks the feature.
    EnterpriseOnly = 25, "enterprise only";
    /// The operation cannot be applied to the bin's current value.
    OpNotApplicable = 26, "operation not applicable";
    /// The filter expression was false or unknown.
    FilteredOut = 27, "filtered out";
    /// A replicated write lost to a newer version.
    LostConflict = 28, "lost conflict";
    /// A replicated write has to wait for the key.
    XdrKeyBusy = 32, "write in progress, replication must retry";
    /// Security: the end of a list, not an error.
    SecurityOkLast = 50, "end of list";
    /// Security is not supported by this server.
    SecurityNotSupported = 51, "security not supported";
    /// Security is supported but not enabled; clients take it as "no login needed".
    SecurityNotEnabled = 52, "security not enabled";
    /// The security scheme byte is unknown.
    SecurityScheme = 53, "invalid security scheme";
    /// The security command is unknown.
    SecurityCommand = 54, "invalid security command";
    /// A security field is malformed or unknown.
    SecurityField = 55, "invalid security field";
    /// The security command does not fit the state of the connection.
    SecurityState = 56, "invalid security state";
    /// The user is unknown or its name is malformed.
    InvalidUser = 60, "invalid user";
    /// A user of this name exists.
    UserExists = 61, "user exists";
    /// The password is malformed.
    InvalidPassword = 62, "invalid password";
    /// The password has expired.
    ExpiredPassword = 63, "expired password";
    /// The password may not be used, for instance because it was used before.
    ForbiddenPassword = 64, "forbidden password";
    /// User and password, or the session token, do not match.
    InvalidCredential = 65, "invalid credential";
    /// The session token has expired; log in again.
    ExpiredSession = 66, "expired session";
    /// The role is unknown or its name is malformed.
    InvalidRole = 70, "invalid role";
    /// A role of this name exists.
    RoleExists = 71, "role exists";
    /// The privilege is unknown or malformed.
    InvalidPrivilege = 72, "invalid privilege";
    /// The address whitelist is malformed.
    InvalidWhitelist = 73, "invalid whitelist";
    /// Quotas are not enabled on this server.
    QuotasNotEnabled = 74, "quotas not enabled";
    /// The quota is malformed.
    InvalidQuota = 75, "invalid quota";
    /// The connection has not logged in. Clients close it.
    NotAuthenticated = 80, "not authenticated";
    /// The user's roles do not allow the operation.
    RoleViolation = 81, "role violation";
    /// The client's address is not on the role's whitelist.
    NotWhitelisted = 82, "not whitelisted";
    /// The user's rate quota is used up.
    QuotaExceeded = 83, "quota exceeded";
    /// LDAP is not configured.
    LdapNotConfigured = 90, "LDAP not configured";
    /// LDAP could not be set up.
    LdapSetup = 91, "LDAP setup failed";
    /// TLS to the LDAP server could not be set up.
    LdapTlsSetup = 92, "LDAP TLS setup failed";
    /// The LDAP server refused the user.
    LdapAuthentication = 93, "LDAP authentication failed";
    /// The query to the LDAP server failed.
    LdapQuery = 94, "LDAP query failed";
    /// A user-defined function failed; its message is the answer's bin `FAILURE`.
    UdfExecution = 100, "UDF execution failed";
    /// The record is held by another transaction.
    TransactionBlocked = 120, "record held by another transaction";
    /// The record changed since the transaction read it.
    TransactionVersionMismatch = 121, "transaction version mismatch";
    /// The transaction's deadline has passed.
    TransactionExpired = 122, "transaction expired";
    /// The transaction wrote more records than allowed.
    TransactionTooManyWrites = 123, "too many writes in transaction";
    /// The transaction has been committed already.
    TransactionCommitted = 124, "transaction already committed";
    /// The transaction has been aborted already.
    TransactionAborted = 125, "transaction already aborted";
    /// The record is held by this transaction already.
    TransactionAlreadyLocked = 126, "record already held by this transaction";
    /// The transaction's monitor record exists already.
    TransactionMonitorExists = 127, "transaction monitor exists";
    /// Batches are disabled by configuration.
    BatchDisabled = 150, "batch disabled";
    /// The batch has more rows than the server allows.
    BatchMaxRequests = 151, "too many batch rows";
    /// Every batch queue is full.
    BatchQueuesFull = 152, "batch queues full";
    /// The GeoJSON text is malformed.
    GeoInvalidGeojson = 160, "invalid GeoJSON";
    /// An index of this name exists with another definition.
    SindexFound = 200, "index exists";
    /// The index does not exist.
    SindexNotFound = 201, "index not found";
    /// No memory for the index; only old servers send it.
    SindexOutOfMemory = 202, "index out of memory";
    /// The index is still being built.
    SindexNotReadable = 203, "index not readable";
    /// An index failed in a way that has no code of its own; only old servers send it.
    SindexGeneric = 204, "index error";
    /// The index name is too long; only old servers send it.
    SindexNameTooLong = 205, "index name too long";
    /// The namespace has as many indexes as it may have.
    SindexMaxCount = 206, "too many indexes";
}

impl ResultCode {
    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.text(), self.as_u8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_its_number_and_unknown_numbers_are_refused() {
        let known = (0..=u8::MAX).filter_map(ResultCode::from_u8);
        assert_eq!(known.collect::<Vec<_>>(), ResultCode::ALL);
        for code in ResultCode::ALL {
            assert_eq!(ResultCode::from_u8(code.as_u8()), Some(*code));
        }
        assert_eq!(ResultCode::from_u8(29), None);
        assert_eq!(ResultCode::from_u8(255), None);
    }

    #[test]
    fn codes_print_their_words_and_their_number() {
        assert_eq!(
            ResultCode::Unavailable.to_string(),
            "partition unavailable (code 11)"
        );
    }
}
