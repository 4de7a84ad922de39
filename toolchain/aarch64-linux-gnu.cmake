# Cross build for 64-bit Arm boards (Raspberry Pi 4 and 5, RK3399, RK3588, ...) on a Debian machine:
#   dpkg --add-architecture arm64 && apt-get update
#   apt-get install gcc-aarch64-linux-gnu pkg-config libegl-dev:arm64 libgles-dev:arm64 libgbm-dev:arm64 libdrm-dev:arm64 \
#                   libcjson-dev:arm64 libpng-dev:arm64 zlib1g-dev:arm64
#   cmake -S . -B build/arm64 -G Ninja -DCMAKE_TOOLCHAIN_FILE=toolchain/aarch64-linux-gnu.cmake -DESKER_TESTS=OFF
# For another C library than Debian's give its root: -DCMAKE_SYSROOT=/path -DESKER_PKG_CONFIG_LIBDIR=/path/usr/lib/pkgconfig
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(ESKER_CROSS_TRIPLET aarch64-linux-gnu)
include("${CMAKE_CURRENT_LIST_DIR}/debian-cross.cmake")
