//! The reference: what the real libuci reads from a file.

// The reference is a C library: there is no safe way to it.
#![allow(unsafe_code)]

use libuci_sys::{
    uci_alloc_context, uci_free_context, uci_get_errorstr, uci_list, uci_load, uci_option,
    uci_option_type_UCI_TYPE_STRING, uci_package, uci_section,
};
use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::{Mutex, PoisonError};

/// libuci keeps state in static variables: one thread at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A section as both readers can tell it.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    pub name: Vec<u8>,
    pub kind: Vec<u8>,
    pub anonymous: bool,
    pub options: Vec<(Vec<u8>, Value)>,
}

/// An option's value as both readers can tell it.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    One(Vec<u8>),
    List(Vec<Vec<u8>>),
}

unsafe extern "C" {
    fn free(pointer: *mut c_void);
}

/// What libuci reads from a file, or its words on why it does not.
pub fn load(path: &Path) -> Result<Vec<Section>, String> {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: the context is ours until it is freed below; everything read from it is copied
    // before that; the error string is a heap string that the caller frees.
    unsafe {
        let context = uci_alloc_context();
        assert!(!context.is_null());
        let mut package: *mut uci_package = ptr::null_mut();
        let result = if uci_load(context, name.as_ptr(), &mut package) == 0 {
            Ok(sections(package))
        } else {
            let mut words: *mut c_char = ptr::null_mut();
            uci_get_errorstr(context, &mut words, ptr::null());
            let copy = string(words);
            free(words.cast());
            Err(String::from_utf8_lossy(&copy).into_owned())
        };
        uci_free_context(context);
        result
    }
}

/// # Safety
///
/// `package` is a loaded package.
unsafe fn sections(package: *mut uci_package) -> Vec<Section> {
    // SAFETY: the list of a package holds sections, whose first field is the element and whose
    // first field again is the list link.
    unsafe {
        let mut all = Vec::new();
        for link in links(&raw const (*package).sections) {
            let section = &*link.cast::<uci_section>();
            let options = links(&raw const section.options);
            all.push(Section {
                name: string(section.e.name),
                kind: string(section.type_),
                anonymous: section.anonymous,
                options: options.into_iter().map(|link| option(link.cast())).collect(),
            });
        }
        all
    }
}

/// # Safety
///
/// `option` is an option of a loaded package.
unsafe fn option(option: *const uci_option) -> (Vec<u8>, Value) {
    // SAFETY: the type says which member of the union is set; the items of a list are elements,
    // whose first field is the link.
    unsafe {
        let value = if (*option).type_ == uci_option_type_UCI_TYPE_STRING {
            Value::One(string((*option).v.string))
        } else {
            let items = links(&raw const (*option).v.list);
            Value::List(
                items.into_iter().map(|l| string((*l.cast::<uci_option>()).e.name)).collect(),
            )
        };
        (string((*option).e.name), value)
    }
}

/// The members of a circular list, without its head.
///
/// # Safety
///
/// `head` is the head of a list of a loaded package.
unsafe fn links(head: *const uci_list) -> Vec<*const uci_list> {
    let mut all = Vec::new();
    // SAFETY: every link of the circle is valid.
    unsafe {
        let mut link = (*head).next.cast_const();
        while !ptr::eq(link, head) {
            all.push(link);
            link = (*link).next.cast_const();
        }
    }
    all
}

/// # Safety
///
/// `text` is a C string.
unsafe fn string(text: *const c_char) -> Vec<u8> {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
}
