//! Errors on their way to Python, and what becomes of a panic.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::create_exception;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

create_exception!(fastproxy._native, PlanError, PyValueError);
create_exception!(fastproxy._native, StartError, PyOSError);

/// Runs `body`; a panic, which is always a bug, becomes a `RuntimeError`.
pub(crate) fn guarded<T>(body: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let why = words(&*panic);
        Err(PyRuntimeError::new_err(format!(
            "a bug in fastproxy, please report it: {why}"
        )))
    })
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown panic")
}

/// A refused plan.
pub(crate) fn plan_error(error: impl Display) -> PyErr {
    PlanError::new_err(error.to_string())
}

/// Something that cannot be started.
pub(crate) fn start_error(error: impl Display) -> PyErr {
    StartError::new_err(error.to_string())
}

/// A call that does not fit the moment.
pub(crate) fn state_error(error: impl Display) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// A value that cannot be used.
pub(crate) fn value_error(error: impl Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Locks; what a panic left behind is used as it is, for the panic was reported already.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
