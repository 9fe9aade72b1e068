//! What templates are filled in with: values of Go's kinds, made from JSON or field by field.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::ser::{Serialize, SerializeMap, Serializer};

/// A value as Go has it. Copies are cheap.
#[derive(Clone, Default)]
pub enum Value {
    /// Nothing at all, such as the value of a key that a map lacks. It is printed as `<no value>`.
    #[default]
    Missing,
    /// `null` in a document of unknown type (a nil `interface{}`).
    Null,
    /// A nil pointer, such as the health of a container without a check.
    NilPointer,
    /// `true` or `false`.
    Bool(bool),
    /// A number without a fraction.
    Integer(i128),
    /// A `time.Duration`, in nanoseconds: a number that is printed with units.
    Duration(i64),
    /// A number with a fraction.
    Float(f64),
    /// A string.
    Text(Rc<str>),
    /// A list; `None` for a nil slice, which is `null` in JSON.
    List(Option<Rc<[Value]>>),
    /// A map, sorted by key; `None` for a nil map.
    Map(Option<Rc<Map>>),
    /// A struct, with its fields in their order.
    Struct(Rc<Struct>),
    /// A method that takes a string, such as `.Label "key"`.
    Method(Rc<dyn Fn(&str) -> Value>),
}

/// The values of a map, by key.
#[derive(Clone, Default)]
pub struct Map {
    values: BTreeMap<String, Value>,
    is_open: bool,
}

impl Map {
    /// Whether a key that is not there has no value at all, and not the zero value of what the others are.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }
}

impl std::ops::Deref for Map {
    type Target = BTreeMap<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.values
    }
}

/// A struct of Go's.
#[derive(Clone, Default)]
pub struct Struct {
    /// The name of the type, for errors.
    name: &'static str,
    fields: Vec<Field>,
}

#[derive(Clone)]
struct Field {
    name: Rc<str>,
    value: Value,
    is_hidden: bool,
}

impl Struct {
    /// A struct of a type, without fields.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, fields: Vec::new() }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<Value>) -> Self {
        self.add(name, value.into(), false)
    }

    /// Adds a field that templates see and JSON lacks: a method, or a field that Go marks `omitempty` and that is empty.
    #[must_use]
    pub fn hidden(self, name: &str, value: impl Into<Value>) -> Self {
        self.add(name, value.into(), true)
    }

    /// Adds a field that JSON has only if it is not empty (Go's `omitempty`).
    #[must_use]
    pub fn unless_empty(self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        let is_hidden = match &value {
            Value::Struct(_) => false,
            value => !value.is_true(),
        };
        self.add(name, value, is_hidden)
    }

    fn add(mut self, name: &str, value: Value, is_hidden: bool) -> Self {
        self.fields.push(Field { name: name.into(), value, is_hidden });
        self
    }

    /// The value of a field. The case of letters after the first does not matter, since Go's names of fields differ from those in JSON
    /// by no more (`ID` and `Id`).
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        let exact = self.fields.iter().find(|field| &*field.name == name);
        let similar = || {
            let named = |field: &&Field| {
                field.name.eq_ignore_ascii_case(name) && field.name.as_bytes()[0] == name.as_bytes()[0]
            };
            self.fields.iter().find(named)
        };
        exact.or_else(similar).map(|field| &field.value)
    }

    /// The fields, without methods.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.fields
            .iter()
            .map(|field| (&*field.name, &field.value))
            .filter(|(_, value)| !matches!(value, Value::Method(_)))
    }

    /// Whether this is a row of one of docker's lists.
    pub(super) fn is_row(&self) -> bool {
        self.name.starts_with('*') && self.name.ends_with("ontext")
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

impl Value {
    /// A text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// A list of values.
    #[must_use]
    pub fn list<T: Into<Self>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::List(Some(values.into_iter().map(Into::into).collect()))
    }

    /// A map of values.
    #[must_use]
    pub fn map<K: Into<String>, T: Into<Self>>(values: impl IntoIterator<Item = (K, T)>) -> Self {
        Self::new_map(values, false)
    }

    /// A map of values that a template asks for without knowing that they are there, such as the bindings of a port.
    #[must_use]
    pub fn open_map<K: Into<String>, T: Into<Self>>(values: impl IntoIterator<Item = (K, T)>) -> Self {
        Self::new_map(values, true)
    }

    fn new_map<K: Into<String>, T: Into<Self>>(values: impl IntoIterator<Item = (K, T)>, is_open: bool) -> Self {
        let values = values.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self::Map(Some(Rc::new(Map { values, is_open })))
    }

    /// The value as a client sees it that only has the JSON document: structs are maps, and what JSON lacks is missing.
    #[must_use]
    pub fn as_json(&self) -> Self {
        match self {
            Self::Struct(own) => {
                let shown = own.fields.iter().filter(|field| !field.is_hidden);
                Self::open_map(shown.map(|field| (&*field.name, field.value.as_json())))
            }
            Self::List(Some(values)) => Self::list(values.iter().map(Self::as_json)),
            Self::Map(Some(values)) => {
                Self::open_map(values.iter().map(|(key, value)| (key.as_str(), value.as_json())))
            }
            Self::List(None) | Self::Map(None) | Self::NilPointer | Self::Missing => Self::Null,
            Self::Duration(nanoseconds) => Self::Integer((*nanoseconds).into()),
            other => other.clone(),
        }
    }

    /// The text of a field, if the value is a struct or a map that has it.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A field of a struct, or the value of a key.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Struct(own) => own.field(name),
            Self::Map(Some(values)) => values.get(name),
            _ => None,
        }
    }

    /// The same with every text changed by `change`, keys too.
    #[must_use]
    pub fn map_text(&self, change: &impl Fn(&str) -> String) -> Self {
        match self {
            Self::Text(text) => Self::text(&change(text)),
            Self::List(Some(values)) => Self::list(values.iter().map(|value| value.map_text(change))),
            Self::Map(Some(values)) => {
                let changed = values.iter().map(|(key, value)| (change(key), value.map_text(change)));
                Self::new_map(changed, values.is_open)
            }
            Self::Struct(own) => {
                let mut own = (**own).clone();
                own.fields.iter_mut().for_each(|field| field.value = field.value.map_text(change));
                Self::Struct(Rc::new(own))
            }
            other => other.clone(),
        }
    }

    /// Whether an `if` takes the value for true: it is not the zero value of its kind.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Null | Self::NilPointer | Self::List(None) | Self::Map(None) => false,
            Self::Bool(value) => *value,
            Self::Integer(number) => *number != 0,
            Self::Duration(nanoseconds) => *nanoseconds != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(Some(values)) => !values.is_empty(),
            Self::Map(Some(values)) => !values.is_empty(),
            Self::Struct(_) | Self::Method(_) => true,
        }
    }

    /// The number that a duration is; anything else as it is.
    pub(super) fn in_numbers(&self) -> Self {
        match self {
            Self::Duration(nanoseconds) => Self::Integer((*nanoseconds).into()),
            other => other.clone(),
        }
    }

    pub(super) fn is_nil(&self) -> bool {
        matches!(self, Self::Missing | Self::Null | Self::NilPointer | Self::List(None) | Self::Map(None))
    }

    /// The name of the type for errors, and for `%T`.
    pub(super) fn type_name(&self) -> String {
        fn of_all<'a>(mut values: impl Iterator<Item = &'a Value>) -> String {
            let first = values.next().map(Value::type_name);
            let first = first.filter(|name| values.all(|value| value.type_name() == *name));
            first.unwrap_or_else(|| "interface {}".into())
        }
        match self {
            Self::Missing | Self::Null => "interface {}".into(),
            Self::NilPointer => "*struct {}".into(),
            Self::Bool(_) => "bool".into(),
            Self::Integer(_) => "int".into(),
            Self::Duration(_) => "time.Duration".into(),
            Self::Float(_) => "float64".into(),
            Self::Text(_) => "string".into(),
            Self::List(values) => format!("[]{}", of_all(values.iter().flat_map(|values| values.iter()))),
            Self::Map(values) => {
                format!("map[string]{}", of_all(values.iter().flat_map(|values| values.values())))
            }
            Self::Struct(own) => own.name.into(),
            Self::Method(_) => "func(string) string".into(),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Missing | Self::Null | Self::NilPointer | Self::List(None) | Self::Map(None) | Self::Method(_) => {
                serializer.serialize_unit()
            }
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(number) => match (i64::try_from(*number), u64::try_from(*number)) {
                (Ok(number), _) => serializer.serialize_i64(number),
                (_, Ok(number)) => serializer.serialize_u64(number),
                _ => serializer.serialize_f64(*number as f64),
            },
            Self::Duration(nanoseconds) => serializer.serialize_i64(*nanoseconds),
            // Go writes no fraction where there is none.
            Self::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                serializer.serialize_i64(*number as i64)
            }
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(Some(values)) => serializer.collect_seq(values.iter()),
            Self::Map(Some(values)) => serializer.collect_map(values.iter()),
            Self::Struct(own) => {
                let mut map = serializer.serialize_map(None)?;
                for field in own.fields.iter().filter(|field| !field.is_hidden) {
                    map.serialize_entry(&*field.name, &field.value)?;
                }
                map.end()
            }
        }
    }
}

impl From<&serde_json::Value> for Value {
    fn from(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => {
                let integer = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
                integer.map_or_else(|| Self::Float(number.as_f64().unwrap_or_default()), Self::Integer)
            }
            serde_json::Value::String(text) => Self::text(text),
            serde_json::Value::Array(values) => Self::list(values.iter()),
            serde_json::Value::Object(values) => Self::map(values),
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        Self::from(&json)
    }
}

impl From<Struct> for Value {
    fn from(own: Struct) -> Self {
        Self::Struct(Rc::new(own))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

/// Numbers of all widths.
macro_rules! integers {
    ($($kind:ty)*) => {$(
        impl From<$kind> for Value {
            fn from(number: $kind) -> Self {
                Self::Integer(number.into())
            }
        }
    )*};
}
integers!(i32 u32 i64 u64 u16 i128);

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        // No machine has more memory than that.
        Self::Integer(i128::try_from(number).unwrap_or(i128::MAX))
    }
}

/// `None` is a nil pointer.
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::NilPointer, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::list(values)
    }
}
