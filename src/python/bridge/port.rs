//! The meeting place of one event loop and the network's threads, shared by all clients and brokers on that loop.
//!
//! Two parts: [`PortShared`] is what tokio holds, and [`LoopPort`] what Python holds. The loop keeps the `LoopPort` alive
//! by watching its descriptor; when the loop closes, it goes, and what tokio still pushes rests in the shared part until
//! the last operation on the other side is over.

use super::asker::Asker;
use super::loops::{Thread, is_known, may_nest, modules, name_of_loop, running_loop};
use super::op::Op;
use super::runtime::generation;
use super::stream::Waiters;
use super::wake::Wake;
use parking_lot::Mutex;
use pyo3::exceptions::{
    PyAttributeError, PyImportError, PyKeyboardInterrupt, PyNotImplementedError, PyRuntimeError,
    PySystemExit,
};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// After so much work in one go, the loop's other callbacks have a turn.
const DRAIN_ENTRIES_MAX: usize = 1024;
const DRAIN_TIME_MAX: Duration = Duration::from_millis(2);

/// Something that the loop shall do.
pub(super) enum Work {
    /// Tell those who wait for an operation that it is over.
    Op(Py<Op>),
    /// Tell those who wait for a message to look again.
    Stream(Arc<Waiters>),
    /// Ask what the network's side wants to know.
    Ask(Arc<Asker>),
}

impl Work {
    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Self::Op(op) => visit.call(op),
            // Its subscription, or its client, owns it, and shows what is in it.
            Self::Stream(_) | Self::Ask(_) => Ok(()),
        }
    }
}

#[derive(Default)]
struct Pushed {
    work: Vec<Work>,
    graves: Vec<Py<PyAny>>,
}

/// What the network's threads hold of an event loop: nothing of Python but what they have pushed.
pub(crate) struct PortShared {
    armed: AtomicBool,
    pushed: Mutex<Pushed>,
    wake: Wake,
    generation: usize,
}

/// What nobody came to fetch: dropped by the next drain of any port, since only that is sure to be attached.
static ORPHANS: Mutex<Vec<Py<PyAny>>> = Mutex::new(Vec::new());

impl PortShared {
    fn new(wake: Wake) -> Arc<Self> {
        Arc::new(Self {
            armed: AtomicBool::new(false),
            pushed: Mutex::default(),
            wake,
            generation: generation(),
        })
    }

    pub(super) fn push(&self, work: Work) {
        self.pushed.lock().work.push(work);
        self.ring();
    }

    /// Takes a reference that must not be dropped here.
    pub(super) fn bury(&self, object: Py<PyAny>) {
        if self.generation != generation() {
            // In a forked child the lock below may be held by a thread that is not here.
            mem::forget(object);
            return;
        }
        self.pushed.lock().graves.push(object);
        // At once, and not when many are there: each keeps its port, and so the descriptor of a loop that may end next.
        self.ring();
    }

    /// Drops what was buried; only where Python is attached.
    pub(super) fn sweep(&self) {
        let graves = self
            .pushed
            .try_lock()
            .filter(|pushed| !pushed.graves.is_empty())
            .map(|mut pushed| mem::take(&mut pushed.graves));
        drop(graves);
    }

    fn ring(&self) {
        if !self.armed.swap(true, Ordering::SeqCst) {
            self.wake.ring();
        }
    }
}

impl Drop for PortShared {
    fn drop(&mut self) {
        let Pushed { work, graves } = mem::take(self.pushed.get_mut());
        let ops = work.into_iter().filter_map(|work| match work {
            Work::Op(op) => Some(op.into_any()),
            Work::Stream(_) | Work::Ask(_) => None,
        });
        if self.generation != generation() {
            // In a forked child the lock below may be held by a thread that is not here.
            graves.into_iter().chain(ops).for_each(mem::forget);
            return;
        }
        let mut orphans = ORPHANS.lock();
        orphans.extend(graves.into_iter().chain(ops));
    }
}

/// What one event loop has of the bridge. Private: users never see one.
#[pyclass(frozen, weakref, module = "rmqtt._rmqtt")]
pub(crate) struct LoopPort {
    pub(super) event_loop: Py<PyAny>,
    pub(super) call_soon: Py<PyAny>,
    pub(super) create_future: Py<PyAny>,
    pub(super) shared: Arc<PortShared>,
    /// Whether a drain may resume who waits by itself: never in loops that may run again inside a callback, which would
    /// find the callback of their reader in use.
    resumes: bool,
    /// Where the loop was first seen, and what Python calls that thread, if the loop says so.
    thread: Thread,
    ident: Option<u64>,
    /// Taken over and not yet done. In the port and not in a variable of `drain`: a nested loop, as in notebooks, may
    /// drain again from inside a callback, and must find the rest.
    ready: Mutex<VecDeque<Work>>,
}

#[pymethods]
impl LoopPort {
    /// Does what was pushed. The loop calls this when its descriptor was rung.
    fn drain(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let port = slf.get();
        if port.shared.generation != generation() {
            return Ok(());
        }
        port.shared.wake.silence();
        // Before the inbox is taken: what is pushed from here on rings again.
        port.shared.armed.store(false, Ordering::SeqCst);
        let Pushed { work, graves } = mem::take(&mut *port.shared.pushed.lock());
        port.ready.lock().extend(work);
        drop(graves);
        drop_orphans();
        let resumes = port.resumes && !may_nest(py)?;
        let started = now();
        for count in 1..=DRAIN_ENTRIES_MAX {
            let Some(work) = port.ready.lock().pop_front() else {
                return Ok(());
            };
            let done = match work {
                Work::Op(op) if resumes => op.get().resume(op.bind(py)),
                Work::Op(op) => op.get().run_callbacks(op.bind(py)),
                Work::Stream(waiters) => waiters.resume(py),
                Work::Ask(asker) => asker.run(py),
            };
            if done.is_err() {
                // What is left has its turn when the loop goes on.
                port.shared.ring();
                return done;
            }
            if count % 8 == 0 && now() - started > DRAIN_TIME_MAX {
                break;
            }
        }
        port.shared.ring();
        Ok(())
    }

    /// What was pushed for a loop that is closed by now would be kept for ever: each operation there knows the port.
    ///
    /// The lock is waited for and not tried: one collection looks twice, and must not see less the second time. It is
    /// held for moments only, and never by who runs a collection.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.event_loop)?;
        visit.call(&self.call_soon)?;
        visit.call(&self.create_future)?;
        for work in self.ready.lock().iter() {
            work.traverse(&visit)?;
        }
        if self.shared.generation == generation() {
            let pushed = self.shared.pushed.lock();
            for work in &pushed.work {
                work.traverse(&visit)?;
            }
            for object in &pushed.graves {
                visit.call(object)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.let_go();
    }
}

impl LoopPort {
    /// Drops what was pushed and nobody will do.
    fn let_go(&self) {
        let ready = mem::take(&mut *self.ready.lock());
        drop(ready);
        if self.shared.generation == generation() {
            let pushed = mem::take(&mut *self.shared.pushed.lock());
            drop(pushed);
        }
    }

    /// Has the loop call back, as a done-callback is called.
    pub(super) fn soon(
        &self,
        py: Python<'_>,
        callback: &Bound<'_, PyAny>,
        argument: &Bound<'_, PyAny>,
        context: Option<&Py<PyAny>>,
    ) -> PyResult<()> {
        let keywords = context
            .map(|context| {
                let keywords = PyDict::new(py);
                keywords.set_item("context", context).map(|()| keywords)
            })
            .transpose()?;
        self.call_soon
            .bind(py)
            .call((callback, argument), keywords.as_ref())?;
        Ok(())
    }

    /// Tells the loop's handler what a callback raised, as the loop itself does.
    ///
    /// # Errors
    /// What is to end the loop.
    pub(super) fn report(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        if error.is_instance_of::<PyKeyboardInterrupt>(py)
            || error.is_instance_of::<PySystemExit>(py)
        {
            return Err(error);
        }
        let context = PyDict::new(py);
        context.set_item("message", "Exception in callback of an rmqtt operation")?;
        context.set_item("exception", error.into_value(py))?;
        self.event_loop
            .bind(py)
            .call_method1("call_exception_handler", (context,))?;
        Ok(())
    }

    /// Whether the loop is closed: then nothing that waits here will ever be resumed.
    pub(crate) fn is_closed(&self, py: Python<'_>) -> PyResult<bool> {
        self.event_loop
            .bind(py)
            .call_method0("is_closed")?
            .is_truthy()
    }

    pub(crate) fn shared(&self) -> Arc<PortShared> {
        Arc::clone(&self.shared)
    }

    /// Whether an operation bound to this port may be begun here: on its loop, or on a thread without one.
    ///
    /// # Errors
    /// `RuntimeError` naming both loops, or saying that this one is closed.
    pub(crate) fn check_here(&self, py: Python<'_>, what: &str) -> PyResult<()> {
        self.is_here(py, what).map(drop)
    }

    /// As [`LoopPort::check_here`]; and whether this is its loop, and not a thread without one.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn is_here(&self, py: Python<'_>, what: &str) -> PyResult<bool> {
        if self.thread == Thread::here() && self.runs_in_its_thread(py) {
            return Ok(true);
        }
        let running = running_loop(py)?;
        if running.is(&self.event_loop) {
            return Ok(true);
        }
        let ours = name_of_loop(self.event_loop.bind(py))?;
        if self.is_closed(py)? {
            return Err(PyRuntimeError::new_err(format!(
                "this {what} belongs to the event loop {ours}, which is closed; \
                 make a new {what} inside the loop that runs now"
            )));
        }
        if running.is_none() {
            return Ok(false);
        }
        Err(PyRuntimeError::new_err(format!(
            "this {what} belongs to the event loop {ours} and was used in the event loop {}; make one {what} for each \
             event loop, or hand the call over with asyncio.run_coroutine_threadsafe",
            name_of_loop(&running)?
        )))
    }
}

impl LoopPort {
    /// Whether the loop says that it runs in the thread that it was first seen in. asyncio's own loops say so, and that
    /// costs less than to ask asyncio which loop runs here: up to 3.11 that is a call into the system.
    fn runs_in_its_thread(&self, py: Python<'_>) -> bool {
        let Some(ident) = self.ident else {
            return false;
        };
        let says = self
            .event_loop
            .bind(py)
            .getattr(intern!(py, "_thread_id"))
            .and_then(|says| says.extract::<u64>());
        says.is_ok_and(|says| says == ident)
    }
}

fn drop_orphans() {
    let orphans = ORPHANS
        .try_lock()
        .map(|mut orphans| mem::take(&mut *orphans));
    drop(orphans);
}

#[expect(
    clippy::disallowed_methods,
    reason = "the bridge gives other callbacks their turn by the clock; it decides nothing else by it"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

/// The port of the loop that runs in this thread.
///
/// # Errors
/// `RuntimeError` if there is none.
pub(crate) fn running_port(py: Python<'_>) -> PyResult<Py<LoopPort>> {
    let event_loop = running_loop(py)?;
    if event_loop.is_none() {
        return Err(PyRuntimeError::new_err(
            "no event loop runs in this thread: call this from a coroutine, as in asyncio.run(main())",
        ));
    }
    let ports = modules(py)?.ports.bind(py);
    let key = event_loop.as_ptr() as usize;
    let known = ports.call_method1("get", (key,))?;
    if let Ok(port) = known.cast_into::<LoopPort>()
        && port.get().event_loop.is(&event_loop)
        && port.get().shared.generation == generation()
    {
        return Ok(port.unbind());
    }
    let_go_of_closed_loops(ports)?;
    let port = open_port(&event_loop)?;
    ports.set_item(key, &port)?;
    Ok(port.unbind())
}

/// A program that makes loop after loop, as tests do, should not have to wait for the garbage collector before the
/// descriptors of those that are closed are free.
fn let_go_of_closed_loops(ports: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = ports.py();
    for port in ports.call_method0("values")?.try_iter()? {
        let port = port?;
        if let Ok(port) = port.cast::<LoopPort>()
            && port.get().is_closed(py)?
        {
            port.get().let_go();
        }
    }
    Ok(())
}

fn open_port<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, LoopPort>> {
    let py = event_loop.py();
    let port = new_port(event_loop, Wake::new()?)?;
    let drain = port.getattr("drain")?;
    let watched =
        event_loop.call_method1("add_reader", (port.get().shared.wake.descriptor(), drain));
    match watched {
        Ok(_) => Ok(port),
        // Windows' default loop, and loops of other makers, may not watch descriptors.
        Err(error)
            if error.is_instance_of::<PyNotImplementedError>(py)
                || error.is_instance_of::<PyAttributeError>(py) =>
        {
            let (wake, other_end) = Wake::for_socket()?;
            let port = new_port(event_loop, wake)?;
            py.import("rmqtt._wake")?.getattr("watch")?.call1((
                event_loop,
                other_end,
                port.getattr("drain")?,
            ))?;
            Ok(port)
        }
        Err(error) => Err(error),
    }
}

fn new_port<'py>(event_loop: &Bound<'py, PyAny>, wake: Wake) -> PyResult<Bound<'py, LoopPort>> {
    Bound::new(
        event_loop.py(),
        LoopPort {
            event_loop: event_loop.clone().unbind(),
            call_soon: event_loop.getattr("call_soon")?.unbind(),
            create_future: event_loop.getattr("create_future")?.unbind(),
            shared: PortShared::new(wake),
            resumes: is_known(event_loop)?,
            thread: Thread::here(),
            ident: event_loop
                .getattr("_thread_id")
                .and_then(|ident| ident.extract())
                .ok(),
            ready: Mutex::default(),
        },
    )
}

/// Refuses what the bridge cannot serve, and has a fork begin a new generation.
///
/// # Errors
/// `ImportError` in a subinterpreter: its objects must not meet those of another. From 3.12 on, `PyO3` refuses by itself.
pub(crate) fn bind_module(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    if let Ok(interpreters) = py.import("_xxsubinterpreters") {
        let current = interpreters.call_method0("get_current")?;
        if !current.eq(interpreters.call_method0("get_main")?)? {
            return Err(PyImportError::new_err(
                "rmqtt works in the main interpreter only, not in a subinterpreter",
            ));
        }
    }
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let keywords = PyDict::new(py);
        keywords.set_item("after_in_child", module.getattr("_after_fork")?)?;
        os.call_method("register_at_fork", (), Some(&keywords))?;
    }
    Ok(())
}
