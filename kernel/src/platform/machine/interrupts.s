# The way from a CPU exception or a device interrupt to Rust and back: `fata_interrupt(frame: *mut Frame)`.
#
# All gates run on stacks of their own (IST), so that nothing below the interrupted stack pointer is touched: the compiler
# keeps data there (the red zone). Interrupts are off throughout, so no handler meets itself on the same stack.
#
# One stub per vector, 16 bytes apart. Each makes the stack look the same: the error code (0 where the CPU pushes none),
# then the vector.

    .section .text.interrupts, "ax", @progbits
    .balign 16
    .global fata_interrupt_stubs
fata_interrupt_stubs:
    .set vector, 0
    .rept 64
    .balign 16
    # Vectors 8, 10 to 14, 17, 21, 29 and 30 come with an error code.
    .if ((0x60227d00 >> vector) & 1) == 0
    push 0
    .endif
    push vector
    jmp interrupt_common
    .set vector, vector + 1
    .endr

interrupt_common:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld                             # memmove of the interrupted code may run backwards
    mov rdi, rsp                    # the Frame
    mov rbp, rsp                    # survives the call
    sub rsp, 512
    and rsp, -16
    fxsave64 [rsp]                  # handlers are ordinary Rust: they use SSE registers
    call fata_interrupt
    fxrstor64 [rsp]
    mov rsp, rbp
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16                     # vector and error code
    iretq
