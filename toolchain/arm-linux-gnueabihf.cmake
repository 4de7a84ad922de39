# Cross build for 32-bit Arm boards with hardware floating point (ARMv7; 32-bit Raspberry Pi OS on a Pi 4, ...) on a Debian machine:
#   dpkg --add-architecture armhf && apt-get update
#   apt-get install gcc-arm-linux-gnueabihf pkg-config libegl-dev:armhf libgles-dev:armhf libgbm-dev:armhf libdrm-dev:armhf \
#                   libcjson-dev:armhf libpng-dev:armhf zlib1g-dev:armhf
#   cmake -S . -B build/armhf -G Ninja -DCMAKE_TOOLCHAIN_FILE=toolchain/arm-linux-gnueabihf.cmake -DESKER_TESTS=OFF
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7l)
set(ESKER_CROSS_TRIPLET arm-linux-gnueabihf)
include("${CMAKE_CURRENT_LIST_DIR}/debian-cross.cmake")
