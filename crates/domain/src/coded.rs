//! Enums that the database stores as integers (semantics.md G3).

macro_rules! coded {
    ($(#[$doc:meta])* $type:ident { $($variant:ident = $code:literal $name:literal),* $(,)? } else $fallback:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum $type { $($variant = $code),* }

        impl $type {
            /// All values.
            pub const ALL: &'static [$type] = &[$($type::$variant),*];

            /// All names that clients see.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The enum's value for a stored integer.
            pub fn from_code(code: i32) -> $type {
                match code { $($code => $type::$variant,)* _ => $type::$fallback }
            }

            pub fn code(self) -> i32 {
                self as i32
            }

            /// The name that clients see and search by, in lower case.
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name),* }
            }

            /// The value of a name as clients send it.
            pub fn from_name(name: &str) -> Option<$type> {
                match name { $($name => Some($type::$variant),)* _ => None }
            }
        }
    };
}
pub(crate) use coded;
