// SPDX-License-Identifier: LGPL-2.1-or-later
//
// raii: iou.h from C++17, as it is. The instance is freed with its owner, and a callback is any callable: it is kept until the
// op's final completion, and an exception in it ends the run and comes out of it.
#include <iou.h>

#include <cerrno>
#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>

class Loop
{
	struct Free {
		void operator()(iou_t *iou) const
		{
			iou_free(iou);
		}
	};
	struct Call {
		Loop *loop;
		iou_op_t *op;
		std::function<void(int result)> then;
	};
	std::exception_ptr thrown;
	std::unique_ptr<iou_t, Free> iou; // the last member: while it is freed callbacks still run

	static int call(void *data)
	{
		std::unique_ptr<Call> call(static_cast<Call *>(data));

		try {
			call->then(call->op->result);
		} catch (...) {
			call->loop->thrown = std::current_exception();
			return -ECANCELED;
		}
		if (call->op->flags & IORING_CQE_F_MORE)
			call.release();
		return 0;
	}

      public:
	explicit Loop(unsigned entries) : iou(iou_new(entries))
	{
		if (!iou)
			throw std::system_error(errno, std::system_category(), "iou_new");
	}

	template <typename Prepare> void queue(Prepare prepare, std::function<void(int)> then)
	{
		auto call = std::make_unique<Call>(Call{ this, iou_op_new(iou.get()), std::move(then) });

		if (!call->op)
			throw std::system_error(errno, std::system_category(), "iou_op_new");
		prepare(call->op->sqe);
		iou_op_queue(iou.get(), call->op, Loop::call, call.get());
		call.release();
	}

	void run()
	{
		int r = iou_run(iou.get());

		if (thrown)
			std::rethrow_exception(std::exchange(thrown, nullptr));
		if (r < 0)
			throw std::system_error(-r, std::system_category(), "iou_run");
	}
};

int main()
{
	struct __kernel_timespec moment = { 0, 1000000 };
	Loop loop(8);
	int n_left = 3;
	std::function<void(int)> tick = [&](int result) {
		std::cout << n_left << (result == -ETIME ? " to go\n" : "?\n");
		if (--n_left == 0)
			throw std::runtime_error("that was the last one");
		loop.queue([&](io_uring_sqe *sqe) { io_uring_prep_timeout(sqe, &moment, 0, 0); }, tick);
	};

	loop.queue([&](io_uring_sqe *sqe) { io_uring_prep_timeout(sqe, &moment, 0, 0); }, tick);
	try {
		loop.run();
	} catch (const std::runtime_error &error) {
		std::cout << "caught: " << error.what() << '\n';
	}
	return 0;
}
