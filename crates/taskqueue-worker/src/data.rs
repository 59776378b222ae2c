//! Shared state of handlers: the map that the builder fills, and the extractor that reads it.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use crate::{FromContext, TaskContext, TaskError};

/// Shared state that handlers are given: `mailer: Data<Mailer>`. One value a type, given to the builder with
/// [`data`](crate::WorkerBuilder::data); a handler that asks for a type that was not given is refused at
/// [`build`](crate::WorkerBuilder::build).
///
/// ```
/// use taskqueue_memory::MemoryQueue;
/// use taskqueue_worker::{Data, Payload, Worker};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Greet {
///     user: String,
/// }
/// impl Payload for Greet {
///     const TYPE: &'static str = "greet";
/// }
/// struct Greeting(&'static str);
///
/// async fn greet(task: Greet, greeting: Data<Greeting>) {
///     println!("{}, {}", greeting.0.0, task.user);
/// }
///
/// let builder = Worker::builder(MemoryQueue::new()).handler(greet);
/// assert!(builder.build().is_err(), "the greeting was not given");
/// assert!(Worker::builder(MemoryQueue::new()).handler(greet).data(Greeting("hello")).build().is_ok());
/// ```
///
/// A trait's object is given with [`data_arc`](crate::WorkerBuilder::data_arc), and taken as `Data<dyn Mailer>`.
#[derive(Debug)]
pub struct Data<T: ?Sized>(pub Arc<T>);

impl<T: ?Sized> Clone for Data<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for Data<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The values that the builder was given, by type: each a `Data<T>`, which has a size where `T` has none.
#[derive(Default, Clone)]
pub struct DataMap(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl DataMap {
    /// Keeps `value`; it replaces one of the same type.
    pub(crate) fn insert<T: ?Sized + Send + Sync + 'static>(&mut self, value: Arc<T>) {
        self.0.insert(TypeId::of::<T>(), Arc::new(Data(value)));
    }

    /// The value of this type, if it was given.
    pub fn get<T: ?Sized + Send + Sync + 'static>(&self) -> Option<Data<T>> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref().cloned()
    }
}

impl std::fmt::Debug for DataMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DataMap({} types)", self.0.len())
    }
}

fn missing<T: ?Sized>() -> String {
    format!("Data<{0}> was not given: call .data(value) with a {0}", type_name::<T>())
}

impl<T: ?Sized + Send + Sync + 'static> FromContext for Data<T> {
    fn from_context(cx: &TaskContext) -> Result<Self, TaskError> {
        cx.data().get().ok_or_else(|| TaskError::permanent(missing::<T>()))
    }

    fn check(data: &DataMap) -> Result<(), String> {
        data.get::<T>().map(drop).ok_or_else(missing::<T>)
    }
}
