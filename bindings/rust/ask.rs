// Pensée from Rust, over the C interface, without crates (Rust 1.63 or later).
//
//   rustc --edition 2021 -O -L native=LIBRARY_FOLDER ask.rs
//   ./ask MODEL "What is 12 + 30?"
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::raw::c_char;
use std::os::unix::ffi::OsStrExt;
use std::{env, error, process, ptr, slice};

// The part of pensee.h that is used here. Handles are opaque; NULL in place of options means the
// defaults.
mod c {
    use std::os::raw::c_char;
    macro_rules! handles {
        ($($name:ident)*) => { $(#[repr(C)] pub struct $name { _opaque: [u8; 0] })* }
    }
    handles!(Model Session Error LoadOptions SessionOptions ReplyOptions);
    pub const ROLE_USER: i32 = 1;

    #[link(name = "pensee_c")]
    extern "C" {
        pub fn pensee_error_message(error: *const Error) -> *const c_char;
        pub fn pensee_error_destroy(error: *mut Error);
        pub fn pensee_model_load(
            path: *const c_char,
            options: *const LoadOptions,
            model: *mut *mut Model,
            error: *mut *mut Error,
        ) -> i32;
        pub fn pensee_model_destroy(model: *mut Model);
        pub fn pensee_session_create(
            model: *const Model,
            options: *const SessionOptions,
            session: *mut *mut Session,
            error: *mut *mut Error,
        ) -> i32;
        pub fn pensee_session_destroy(session: *mut Session);
        pub fn pensee_session_add_message(
            session: *mut Session,
            role: i32,
            text: *const c_char,
            text_size: usize,
            error: *mut *mut Error,
        ) -> i32;
        pub fn pensee_session_start(
            session: *mut Session,
            options: *const ReplyOptions,
            error: *mut *mut Error,
        ) -> i32;
        pub fn pensee_session_think(session: *mut Session, error: *mut *mut Error) -> i32;
        pub fn pensee_session_answer(session: *mut Session, error: *mut *mut Error) -> i32;
        pub fn pensee_session_thought_text(
            session: *const Session,
            size: *mut usize,
        ) -> *const c_char;
        pub fn pensee_session_answer_text(
            session: *const Session,
            size: *mut usize,
        ) -> *const c_char;
    }
}

/// Runs a call that takes a place for an error last, and turns that error into Rust's.
fn call(run: impl FnOnce(*mut *mut c::Error) -> i32) -> Result<(), String> {
    let mut error = ptr::null_mut();
    if run(&mut error) == 0 {
        return Ok(());
    }
    let message = unsafe { CStr::from_ptr(c::pensee_error_message(error)) }
        .to_string_lossy()
        .into_owned();
    unsafe { c::pensee_error_destroy(error) };
    Err(message)
}

/// A copy: the library's text lives no longer than until the next call. NULL: there was no memory.
fn text_of(getter: impl FnOnce(*mut usize) -> *const c_char) -> String {
    let mut size = 0;
    let text = getter(&mut size);
    if text.is_null() {
        return String::new();
    }
    // By its size: models can write NUL.
    let bytes = unsafe { slice::from_raw_parts(text as *const u8, size) };
    String::from_utf8_lossy(bytes).into_owned()
}

/// A conversation. It keeps its model alive.
struct Session(*mut c::Session);

// One thread at a time may use a session, and any thread.
unsafe impl Send for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        unsafe { c::pensee_session_destroy(self.0) }
    }
}

impl Session {
    fn open(path: &OsStr) -> Result<Session, Box<dyn error::Error>> {
        let path = CString::new(path.as_bytes())?;
        let mut model = ptr::null_mut();
        call(|e| unsafe { c::pensee_model_load(path.as_ptr(), ptr::null(), &mut model, e) })?;
        let mut session = ptr::null_mut();
        let created =
            call(|e| unsafe { c::pensee_session_create(model, ptr::null(), &mut session, e) });
        unsafe { c::pensee_model_destroy(model) };
        created?;
        Ok(Session(session))
    }

    /// The library refuses a question that is not UTF-8.
    fn start(&mut self, question: &OsStr) -> Result<(), String> {
        let question = question.as_bytes();
        let (text, size) = (question.as_ptr() as *const c_char, question.len());
        call(|e| unsafe { c::pensee_session_add_message(self.0, c::ROLE_USER, text, size, e) })?;
        call(|e| unsafe { c::pensee_session_start(self.0, ptr::null(), e) })
    }

    fn think(&mut self) -> Result<String, String> {
        call(|e| unsafe { c::pensee_session_think(self.0, e) })?;
        Ok(text_of(|size| unsafe {
            c::pensee_session_thought_text(self.0, size)
        }))
    }

    fn answer(&mut self) -> Result<String, String> {
        call(|e| unsafe { c::pensee_session_answer(self.0, e) })?;
        Ok(text_of(|size| unsafe {
            c::pensee_session_answer_text(self.0, size)
        }))
    }
}

fn run(model: &OsStr, question: &OsStr) -> Result<(), Box<dyn error::Error>> {
    let mut session = Session::open(model)?;
    session.start(question)?;
    println!("Thought:\n{}", session.think()?);
    println!("Answer:\n{}", session.answer()?);
    Ok(())
}

fn main() {
    let arguments: Vec<OsString> = env::args_os().collect();
    if arguments.len() != 3 {
        eprintln!("usage: ask MODEL QUESTION");
        process::exit(2);
    }
    if let Err(error) = run(&arguments[1], &arguments[2]) {
        eprintln!("{}", error);
        process::exit(1);
    }
}
