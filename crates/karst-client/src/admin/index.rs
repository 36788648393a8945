//! Secondary indexes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Goal, Task, pairs};
use crate::client::Client;
use crate::context;
use crate::error::{Error, Result};
use crate::key::{check_names, check_text};
use crate::query::{Elements, Indexed, Of};

/// What an index of a set is called in the protocol.
const OF_SET: &str = "set";

/// Which values an index holds; others of a record are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexType {
    /// Integers.
    Numeric,
    /// Text.
    String,
    /// Blobs.
    Blob,
    /// GeoJSON.
    Geo,
}

impl IndexType {
    /// Its word in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            IndexType::Numeric => "numeric",
            IndexType::String => "string",
            IndexType::Blob => "blob",
            IndexType::Geo => "geo2dsphere",
        }
    }

    /// From its word.
    fn named(name: &str) -> Option<IndexType> {
        let all = [
            IndexType::Numeric,
            IndexType::String,
            IndexType::Blob,
            IndexType::Geo,
        ];
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "integer" => Some(IndexType::Numeric), // as newer servers call it
            name => all.into_iter().find(|kind| kind.name() == name),
        }
    }
}

impl Elements {
    /// Its word in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Elements::Whole => "default",
            Elements::List => "list",
            Elements::MapKeys => "mapkeys",
            Elements::MapValues => "mapvalues",
        }
    }

    fn named(name: &str) -> Option<Elements> {
        let all = [
            Elements::Whole,
            Elements::List,
            Elements::MapKeys,
            Elements::MapValues,
        ];
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "none" => Some(Elements::Whole), // as older servers call it
            name => all.into_iter().find(|elements| elements.name() == name),
        }
    }
}

/// A secondary index that is to be made.
///
/// ```
/// use karst_client::{Elements, Index, IndexType, Indexed};
///
/// let by_age = Index::new("test", "users", "by_age", IndexType::Numeric, "age");
/// let tags = Indexed::bin("tags").elements(Elements::List);
/// let by_tag = Index::new("test", "users", "by_tag", IndexType::String, tags);
/// let of_users = Index::of_set("test", "users", "of_users");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    namespace: String,
    set: String,
    name: String,
    holds: Holds,
}

/// What an index holds.
#[derive(Clone, Debug, PartialEq)]
enum Holds {
    Values { kind: IndexType, of: Indexed },
    Set,
}

impl Index {
    /// An index of a set, or of a whole namespace if `set` is empty.
    pub fn new(
        namespace: impl Into<String>,
        set: impl Into<String>,
        name: impl Into<String>,
        kind: IndexType,
        of: impl Into<Indexed>,
    ) -> Index {
        Index {
            namespace: namespace.into(),
            set: set.into(),
            name: name.into(),
            holds: Holds::Values {
                kind,
                of: of.into(),
            },
        }
    }

    /// An index of which records there are in a set: scans of the set need not look at others. No query names it.
    pub fn of_set(
        namespace: impl Into<String>,
        set: impl Into<String>,
        name: impl Into<String>,
    ) -> Index {
        Index {
            namespace: namespace.into(),
            set: set.into(),
            name: name.into(),
            holds: Holds::Set,
        }
    }

    /// The info command that makes it.
    fn command(&self) -> Result<String> {
        check_names(&self.namespace, &self.set)?;
        check_text(&[&self.namespace, &self.set, &self.name])?;
        let fault = match &self.holds {
            Holds::Values { of, .. } => of.fault(),
            Holds::Set => (self.set.is_empty()).then_some("a set index is of a set"),
        };
        if let Some(fault) = fault {
            let reason = fault.to_owned();
            return Err(Error::Invalid { reason });
        }
        let mut command = format!("sindex-create:namespace={}", self.namespace);
        let mut add = |key: &str, value: &str| {
            command.push_str(&format!(";{key}={value}"));
        };
        if !self.set.is_empty() {
            add("set", &self.set);
        }
        add("indexname", &self.name);
        let Holds::Values { kind, of } = &self.holds else {
            add("indextype", OF_SET);
            return Ok(command);
        };
        if of.elements != Elements::Whole {
            add("indextype", of.elements.name());
        }
        match &of.of {
            Of::Bin { name, path } => {
                check_text(&[name])?;
                if !path.is_empty() {
                    let mut packed = vec![];
                    context::pack(path, 0, &mut packed);
                    add("context", &BASE64.encode(packed));
                }
                add("bin", name);
            }
            Of::Expression(expression) => add("exp", &expression.to_base64()),
        }
        add("type", kind.name());
        Ok(command)
    }
}

/// A secondary index as a node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexInfo {
    /// Its namespace.
    pub namespace: String,
    /// Its set; empty for the whole namespace.
    pub set: String,
    /// Its name.
    pub name: String,
    /// Whether it is of which records there are in the set, and so of no bin.
    pub of_set: bool,
    /// The bin it is of, unless it is of an expression.
    pub bin: Option<String>,
    /// Which values it holds; `None` of a kind that this client does not know.
    pub kind: Option<IndexType>,
    /// What of a collection it holds; `None` of a kind that this client does not know.
    pub elements: Option<Elements>,
    /// The path inside the bin, as the server writes it.
    pub context: Option<String>,
    /// The expression it is of, as the server writes it.
    pub expression: Option<String>,
    /// Whether the node that was asked has built it.
    pub readable: bool,
}

impl IndexInfo {
    fn parse(item: &str) -> Option<IndexInfo> {
        let mut pairs = pairs(item, ':');
        let mut take = |key: &str| pairs.remove(key).filter(|value| value != "null");
        let source = take("indextype");
        Some(IndexInfo {
            namespace: take("ns")?,
            name: take("indexname")?,
            set: take("set").unwrap_or_default(),
            of_set: (source.as_deref()).is_some_and(|it| it.eq_ignore_ascii_case(OF_SET)),
            bin: take("bin"),
            kind: take("type").and_then(|name| IndexType::named(&name)),
            elements: source.and_then(|name| Elements::named(&name)),
            context: take("context"),
            expression: take("exp"),
            readable: take("state").is_none_or(|state| state == "RW"),
        })
    }
}

impl Client {
    /// Makes a secondary index; one that is there with the same definition is no error. Nodes build it in the
    /// background: wait for the task before asking it.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use karst_client::{Client, Index, IndexType};
    ///
    /// # async fn example(client: &Client) -> karst_client::Result<()> {
    /// let by_age = Index::new("test", "users", "by_age", IndexType::Numeric, "age");
    /// client.create_index(&by_age).await?.wait(Duration::from_secs(60)).await?;
    /// for index in client.indexes("test").await? {
    ///     println!("{} of {:?}", index.name, index.bin);
    /// }
    /// client.drop_index("test", "by_age").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for names the protocol cannot carry; [`Error::Info`] with code 200 if another index
    /// has the name, and for everything else the server refuses.
    pub async fn create_index(&self, index: &Index) -> Result<Task> {
        self.ask_any(&index.command()?).await?;
        let goal = Goal::IndexBuilt {
            namespace: index.namespace.clone(),
            name: index.name.clone(),
        };
        Ok(Task {
            client: self.clone(),
            goal,
        })
    }

    /// Drops a secondary index; that it is not there is no error.
    ///
    /// # Errors
    /// As [`Client::create_index`].
    pub async fn drop_index(&self, namespace: &str, name: &str) -> Result<Task> {
        check_names(namespace, "")?;
        check_text(&[namespace, name])?;
        let command = format!("sindex-delete:namespace={namespace};indexname={name}");
        self.ask_any(&command).await?;
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Ok(Task {
            client: self.clone(),
            goal: Goal::IndexGone { namespace, name },
        })
    }

    /// The secondary indexes of a namespace, or of all if it is empty, as one node knows them.
    ///
    /// # Errors
    /// Those of info commands.
    pub async fn indexes(&self, namespace: &str) -> Result<Vec<IndexInfo>> {
        check_text(&[namespace])?;
        let command = match namespace {
            "" => "sindex-list:".to_owned(),
            namespace => format!("sindex-list:namespace={namespace}"),
        };
        let list = self.ask_any(&command).await?;
        Ok(list.split(';').filter_map(IndexInfo::parse).collect())
    }

    /// What each node counts of a secondary index, by the server's own names, such as `entries` and
    /// `load_pct`.
    ///
    /// # Errors
    /// [`Error::Info`] with code 201 if there is no such index; those of info commands.
    pub async fn index_stats(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<(String, BTreeMap<String, String>)>> {
        check_text(&[namespace, name])?;
        let command = format!("sindex-stat:namespace={namespace};indexname={name}");
        let answers = self.ask_all(&command).await.into_iter();
        answers
            .map(|(node, answer)| Ok((node, pairs(&answer?, ';'))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, Expr};

    fn command(of: impl Into<Indexed>) -> Result<String> {
        Index::new("test", "demo", "ix", IndexType::Numeric, of).command()
    }

    #[test]
    fn indexes_are_made_by_the_commands_of_the_reference() {
        let of_age = "sindex-create:namespace=test;set=demo;indexname=ix;bin=age;type=numeric";
        assert_eq!(command("age").unwrap(), of_age);
        let of_keys = command(Indexed::bin("m").elements(Elements::MapKeys)).unwrap();
        let wanted = "sindex-create:namespace=test;set=demo;indexname=ix;indextype=mapkeys;bin=m;type=numeric";
        assert_eq!(of_keys, wanted);
        let in_list = command(Indexed::bin("m").at([Context::list_index(0)])).unwrap();
        let wanted =
            "sindex-create:namespace=test;set=demo;indexname=ix;context=khAA;bin=m;type=numeric";
        assert_eq!(in_list, wanted);
        let computed = command(Indexed::expression(Expr::int_bin("a"))).unwrap();
        let wanted = "sindex-create:namespace=test;set=demo;indexname=ix;exp=k1ECoWE=;type=numeric";
        assert_eq!(computed, wanted);
        let whole = Index::new("test", "", "ix", IndexType::Geo, "place").command();
        let wanted = "sindex-create:namespace=test;indexname=ix;bin=place;type=geo2dsphere";
        assert_eq!(whole.unwrap(), wanted);
        let of_set = Index::of_set("test", "demo", "ix").command();
        let wanted = "sindex-create:namespace=test;set=demo;indexname=ix;indextype=set";
        assert_eq!(of_set.unwrap(), wanted);
    }

    #[test]
    fn names_that_would_be_something_else_are_refused() {
        assert!(command("a;b").is_err());
        assert!(Index::of_set("test", "", "ix").command().is_err());
        assert!(
            Index::new("test", "x=y", "ix", IndexType::Blob, "a")
                .command()
                .is_err()
        );
    }

    #[test]
    fn an_index_is_read_from_the_list() {
        let item = "ns=test:indexname=ix_age:set=demo:bin=age:type=numeric:indextype=default:\
                    context=null:exp=null:state=RW";
        let read = IndexInfo::parse(item).unwrap();
        assert_eq!((read.name.as_str(), read.set.as_str()), ("ix_age", "demo"));
        assert_eq!(read.bin.as_deref(), Some("age"));
        assert_eq!(
            (read.kind, read.elements),
            (Some(IndexType::Numeric), Some(Elements::Whole))
        );
        assert_eq!((read.context, read.expression), (None, None));
        assert!(read.readable && !read.of_set);
        let of_set = IndexInfo::parse("ns=test:indexname=ix:set=demo:indextype=set").unwrap();
        assert!(of_set.of_set && of_set.readable);
        assert_eq!((of_set.set.as_str(), of_set.bin), ("demo", None));
        let building = IndexInfo::parse(&item.replace("RW", "WO").replace("demo", "null"));
        let building = building.unwrap();
        assert!(!building.readable && building.set.is_empty());
        assert_eq!(IndexInfo::parse(""), None);
    }
}
