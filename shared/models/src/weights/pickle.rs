//! Reads a Python pickle as data. Nothing that it names is imported or called: a call stays a note
//! of what would be called. What the notes mean is `pytorch`'s matter.

use std::collections::HashMap;

/// Index of a value; values refer to each other by it, so shared ones are read once.
pub(super) type Id = usize;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Text(String),
    /// A number or string that no tensor needs.
    Other,
    /// `module.name`
    Global(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Call {
        callable: Id,
        arguments: Id,
    },
    /// What the file keeps outside the pickle.
    Persistent(Id),
}

#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    pub(super) fn root(&self) -> &Value {
        self.get(self.root)
    }

    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id]
    }

    /// What the storages are called, in the order of their first use.
    pub(super) fn persistent(&self) -> impl Iterator<Item = Id> {
        self.values.iter().filter_map(|value| match value {
            Value::Persistent(id) => Some(*id),
            _ => None,
        })
    }

    /// What `text` is the key of in a dict.
    pub(super) fn entry(&self, dict: &Value, text: &str) -> Option<&Value> {
        let Value::Dict(entries) = dict else { return None };
        let found = entries
            .iter()
            .find(|(key, _)| matches!(self.get(*key), Value::Text(key) if key == text));
        found.map(|(_, value)| self.get(*value))
    }

    /// What a value is, for error texts.
    pub(super) fn describe(&self, value: &Value) -> String {
        match value {
            Value::None => "nothing".to_owned(),
            Value::Bool(_) => "a truth value".to_owned(),
            Value::Int(_) => "a number".to_owned(),
            Value::Text(_) => "a text".to_owned(),
            Value::Other => "a number or bytes".to_owned(),
            Value::Global(name) => format!("the name {name}"),
            Value::Tuple(_) => "a tuple".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Dict(_) => "a dict".to_owned(),
            Value::Call { callable, .. } => match self.get(*callable) {
                Value::Global(name) => format!("a call of {name}"),
                _ => "a call".to_owned(),
            },
            Value::Persistent(_) => "a storage".to_owned(),
        }
    }
}

/// The pickle at the start of `bytes`, and its length.
pub(super) fn read(bytes: &[u8]) -> Result<(Pickle, usize), String> {
    let mut machine = Machine {
        bytes,
        position: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    while !machine.step()? {}
    let root = machine.pop()?;
    Ok((Pickle { values: machine.values, root }, machine.position))
}

/// The opcodes that PyTorch's checkpoints use, of all protocols, by their names in `pickletools`.
mod op {
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const FRAME: u8 = 0x95;
    pub(super) const STOP: u8 = b'.';
    pub(super) const MARK: u8 = b'(';
    pub(super) const POP: u8 = b'0';
    pub(super) const NONE: u8 = b'N';
    pub(super) const NEWTRUE: u8 = 0x88;
    pub(super) const NEWFALSE: u8 = 0x89;
    pub(super) const BININT: u8 = b'J';
    pub(super) const BININT1: u8 = b'K';
    pub(super) const BININT2: u8 = b'M';
    pub(super) const LONG1: u8 = 0x8a;
    pub(super) const BINFLOAT: u8 = b'G';
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const SHORT_BINUNICODE: u8 = 0x8c;
    pub(super) const BINSTRING: u8 = b'T';
    pub(super) const SHORT_BINSTRING: u8 = b'U';
    pub(super) const BINBYTES: u8 = b'B';
    pub(super) const SHORT_BINBYTES: u8 = b'C';
    pub(super) const GLOBAL: u8 = b'c';
    pub(super) const STACK_GLOBAL: u8 = 0x93;
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const TUPLE1: u8 = 0x85;
    pub(super) const TUPLE2: u8 = 0x86;
    pub(super) const TUPLE3: u8 = 0x87;
    pub(super) const EMPTY_LIST: u8 = b']';
    pub(super) const APPEND: u8 = b'a';
    pub(super) const APPENDS: u8 = b'e';
    pub(super) const EMPTY_DICT: u8 = b'}';
    pub(super) const SETITEM: u8 = b's';
    pub(super) const SETITEMS: u8 = b'u';
    pub(super) const EMPTY_SET: u8 = 0x8f;
    pub(super) const ADDITEMS: u8 = 0x90;
    pub(super) const REDUCE: u8 = b'R';
    pub(super) const NEWOBJ: u8 = 0x81;
    pub(super) const BUILD: u8 = b'b';
    pub(super) const BINPERSID: u8 = b'Q';
    pub(super) const BINPUT: u8 = b'q';
    pub(super) const LONG_BINPUT: u8 = b'r';
    pub(super) const MEMOIZE: u8 = 0x94;
    pub(super) const BINGET: u8 = b'h';
    pub(super) const LONG_BINGET: u8 = b'j';
}

struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// The heights of the stack that were marked.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl Machine<'_> {
    /// Reads one opcode; true at the end of the pickle.
    fn step(&mut self) -> Result<bool, String> {
        let at = self.position;
        let opcode = self.array::<1>()?[0];
        match opcode {
            op::STOP => return Ok(true),
            op::PROTO => {
                self.take(1)?;
            }
            op::FRAME => {
                self.take(8)?;
            }
            op::MARK => self.marks.push(self.stack.len()),
            op::POP => {
                self.pop()?;
            }
            op::NONE => self.push(Value::None),
            op::NEWTRUE => self.push(Value::Bool(true)),
            op::NEWFALSE => self.push(Value::Bool(false)),
            op::BININT | op::BININT1 | op::BININT2 | op::LONG1 => self.integer(opcode)?,
            op::BINFLOAT => self.other(8)?,
            op::BINUNICODE | op::SHORT_BINUNICODE | op::BINSTRING | op::SHORT_BINSTRING => {
                self.text(opcode)?;
            }
            op::BINBYTES => {
                let length = self.length()?;
                self.other(length)?;
            }
            op::SHORT_BINBYTES => {
                let length = self.array::<1>()?[0];
                self.other(length.into())?;
            }
            op::GLOBAL => {
                let name = format!("{}.{}", self.line()?, self.line()?);
                self.push(Value::Global(name));
            }
            op::STACK_GLOBAL => self.stack_global()?,
            op::EMPTY_TUPLE => self.push(Value::Tuple(Vec::new())),
            op::TUPLE => {
                let items = self.pop_marked()?;
                self.push(Value::Tuple(items));
            }
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => self.short_tuple(opcode)?,
            op::EMPTY_LIST | op::EMPTY_SET => self.push(Value::List(Vec::new())),
            op::EMPTY_DICT => self.push(Value::Dict(Vec::new())),
            op::APPEND => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            op::APPENDS | op::ADDITEMS => {
                let items = self.pop_marked()?;
                self.append(items)?;
            }
            op::SETITEM => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            op::SETITEMS => {
                let items = self.pop_marked()?;
                self.set(&items)?;
            }
            op::REDUCE | op::NEWOBJ => self.call()?,
            // The state of an object; PyTorch keeps version numbers of its modules there.
            op::BUILD => {
                self.pop()?;
            }
            op::BINPERSID => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            op::BINPUT | op::LONG_BINPUT | op::MEMOIZE | op::BINGET | op::LONG_BINGET => {
                self.remember(opcode)?;
            }
            _ => return Err(format!("opcode {opcode:#04x} at byte {at} is not known")),
        }
        Ok(false)
    }

    fn integer(&mut self, opcode: u8) -> Result<(), String> {
        let value = match opcode {
            op::BININT => Value::Int(i32::from_le_bytes(self.array()?).into()),
            op::BININT1 => Value::Int(self.array::<1>()?[0].into()),
            op::BININT2 => Value::Int(u16::from_le_bytes(self.array()?).into()),
            _ => {
                let length = self.array::<1>()?[0];
                long(self.take(length.into())?)
            }
        };
        self.push(value);
        Ok(())
    }

    fn text(&mut self, opcode: u8) -> Result<(), String> {
        let length = match opcode {
            op::BINUNICODE | op::BINSTRING => self.length()?,
            _ => self.array::<1>()?[0].into(),
        };
        let text = std::str::from_utf8(self.take(length)?).map(str::to_owned);
        self.push(text.map_or(Value::Other, Value::Text));
        Ok(())
    }

    fn other(&mut self, length: usize) -> Result<(), String> {
        self.take(length)?;
        self.push(Value::Other);
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Value::Text(module), Value::Text(name)) = (&self.values[module], &self.values[name])
        else {
            return Err("a name is not a text".to_owned());
        };
        self.push(Value::Global(format!("{module}.{name}")));
        Ok(())
    }

    fn short_tuple(&mut self, opcode: u8) -> Result<(), String> {
        let length = usize::from(opcode - op::TUPLE1) + 1;
        let first = self.stack.len().checked_sub(length).filter(|first| *first >= self.floor());
        let items = self.stack.split_off(first.ok_or_else(underflow)?);
        self.push(Value::Tuple(items));
        Ok(())
    }

    fn call(&mut self) -> Result<(), String> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let ordered = matches!(&self.values[callable], Value::Global(name) if name == "collections.OrderedDict");
        let empty = matches!(&self.values[arguments], Value::Tuple(items) if items.is_empty());
        self.push(match ordered && empty {
            true => Value::Dict(Vec::new()),
            false => Value::Call { callable, arguments },
        });
        Ok(())
    }

    fn remember(&mut self, opcode: u8) -> Result<(), String> {
        let slot = match opcode {
            op::BINPUT | op::BINGET => self.array::<1>()?[0].into(),
            op::MEMOIZE => self.memo.len() as u32,
            _ => u32::from_le_bytes(self.array()?),
        };
        if matches!(opcode, op::BINGET | op::LONG_BINGET) {
            let id = self.memo.get(&slot).ok_or_else(|| format!("memo {slot} is empty"))?;
            self.stack.push(*id);
        } else {
            self.memo.insert(slot, self.top()?);
        }
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::List(list) => list.extend(items),
            // An object of some class, about which nobody asks.
            Value::Call { .. } => {}
            _ => return Err("items are appended to what is no list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), String> {
        let (pairs, rest) = items.as_chunks::<2>();
        let top = self.top()?;
        match &mut self.values[top] {
            Value::Dict(entries) if rest.is_empty() => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
            }
            Value::Call { .. } => {}
            _ => return Err("entries are set in what is no dict".to_owned()),
        }
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// The height of the stack that only `pop_marked` goes below.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, String> {
        let top = self.stack.last().filter(|_| self.stack.len() > self.floor());
        top.copied().ok_or_else(underflow)
    }

    fn pop(&mut self) -> Result<Id, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_marked(&mut self) -> Result<Vec<Id>, String> {
        Ok(self.stack.split_off(self.marks.pop().ok_or_else(underflow)?))
    }

    fn take(&mut self, length: usize) -> Result<&[u8], String> {
        let end = self.position.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.position..end));
        let taken = taken.ok_or_else(|| "the pickle ends too early".to_owned())?;
        self.position += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn length(&mut self) -> Result<usize, String> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.position..];
        let length = rest.iter().position(|byte| *byte == b'\n');
        let length = length.ok_or_else(|| "the pickle ends too early".to_owned())?;
        let line = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.position += 1;
        Ok(line)
    }
}

/// A little-endian integer of any length; one that fits no i64 is no size of a tensor.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Other;
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut extended = [if negative { 0xff } else { 0 }; 8];
    extended[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(extended))
}

fn underflow() -> String {
    "the pickle takes more from its stack than is there".to_owned()
}
