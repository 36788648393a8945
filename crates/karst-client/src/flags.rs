//! Sets of flags, as operations carry them.

/// Declares a set of flags that are joined with `|`.
macro_rules! flags {
    ($(#[$doc:meta])* pub struct $name:ident { $($(#[$flag_doc:meta])* $flag:ident = $bits:literal;)+ }) => {
        $(#[$doc])*
        ///
        /// Joined with `|`; none by default.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name(u32);

        impl $name {
            /// No flag.
            pub const NONE: $name = $name(0);
            $($(#[$flag_doc])* pub const $flag: $name = $name($bits);)+

            /// The number they travel as.
            pub const fn bits(self) -> u32 {
                self.0
            }
        }

        impl std::ops::BitOr for $name {
            type Output = $name;

            fn bitor(self, other: $name) -> $name {
                $name(self.0 | other.0)
            }
        }
    };
}

pub(crate) use flags;
